"""Figures of all experiments, in one style."""

from utils.results.figures.channels import (
    channel_overview,
    channels_with_patches,
    complexity_by_layer,
    montage,
    patchwork,
)
from utils.results.figures.concepts import (
    learning_curves,
    measures_overview,
    r2_panels,
    relevance_map,
    reuse,
)
from utils.results.figures.heatmaps import (
    CARD_INSET,
    COLORMAPS,
    explanations,
    localization,
    map_similarity,
    overlay,
    overlay_card,
    prediction_curves,
)
from utils.results.figures.style import (
    METHOD_STYLES,
    METHOD_TITLES,
    NETWORK_STYLES,
    title_of,
    use_style,
)

__all__ = [
    "CARD_INSET",
    "COLORMAPS",
    "METHOD_STYLES",
    "METHOD_TITLES",
    "NETWORK_STYLES",
    "channel_overview",
    "channels_with_patches",
    "complexity_by_layer",
    "explanations",
    "learning_curves",
    "localization",
    "map_similarity",
    "measures_overview",
    "montage",
    "overlay",
    "overlay_card",
    "patchwork",
    "prediction_curves",
    "r2_panels",
    "relevance_map",
    "reuse",
    "title_of",
    "use_style",
]
