"""Where the evidence lies: heat maps, and their evaluation."""

from utils.heatmaps.baselines import BASELINES, baseline_maps
from utils.heatmaps.evaluation import (
    MEASURES,
    annotated,
    compare_with_baselines,
    curve_areas,
    insertion_deletion,
    measure_finetunings,
    measure_networks,
)
from utils.heatmaps.maps import DeadMaps, explain, explain_by_outcome, explain_layers, stream
from utils.heatmaps.methods import METHODS, ONE_PASS, Method
from utils.heatmaps.nuclei import (
    nuclei_of_finetunings,
    rank_agreement,
    removal_effects,
    sharp_lime,
    type_effects,
)
from utils.heatmaps.placement import StretchedMaps
from utils.heatmaps.sanity import (
    OTHER_PATCH,
    cascading_randomisation,
    check_patches,
    stability,
    stability_by_placement,
)

__all__ = [
    "BASELINES",
    "MEASURES",
    "METHODS",
    "ONE_PASS",
    "OTHER_PATCH",
    "DeadMaps",
    "Method",
    "StretchedMaps",
    "annotated",
    "baseline_maps",
    "cascading_randomisation",
    "check_patches",
    "compare_with_baselines",
    "curve_areas",
    "explain",
    "explain_by_outcome",
    "explain_layers",
    "insertion_deletion",
    "measure_finetunings",
    "measure_networks",
    "nuclei_of_finetunings",
    "rank_agreement",
    "removal_effects",
    "sharp_lime",
    "stability",
    "stability_by_placement",
    "stream",
    "type_effects",
]
