"""Figures of all experiments, in one style."""
# ruff: noqa: F401

from utils.results.figures.after_lucid import (
    accentuations,
    atlas_by_network,
    discovered_concepts,
    exemplars_beside,
    priors_by_network,
)
from utils.results.figures.channels import (
    channel_overview,
    channels_with_patches,
    complexity_by_layer,
    montage,
    patchwork,
    path_by_layer,
    survival_by_dose,
    survival_by_layer,
)
from utils.results.figures.concepts import (
    concept_effects,
    entanglement,
    learning_curves,
    measures_overview,
    r2_panels,
    relevance_map,
    reuse,
    tumor_by_layer,
)
from utils.results.figures.finetuning import finetuning_summary
from utils.results.figures.heatmaps import (
    CARD_INSET,
    explanations,
    localization,
    map_similarity,
    neoplastic_ranking,
    outline_neoplastic,
    overlay,
    overlay_card,
    prediction_curves,
)
from utils.results.figures.interventions import interventions
from utils.results.figures.nuclei import nuclei_effects, nuclei_patchwork
from utils.results.figures.replication import replication
from utils.results.figures.slides import colour_probability, slide_maps, slide_patches
from utils.results.figures.style import grey_layers, title_of, use_style
