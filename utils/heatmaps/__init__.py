"""Where the evidence lies: heat maps, and whether they are right."""

from utils.heatmaps.baselines import baseline_maps
from utils.heatmaps.insertion import curve_areas, insertion_deletion
from utils.heatmaps.maps import DeadMaps, HeatMapBatch, explain, explain_layers, stream
from utils.heatmaps.methods import METHODS
from utils.heatmaps.pointing import (
    MEASURES,
    annotated,
    average_precision,
    compare_with_baselines,
    energy_inside,
    localization_table,
    measure_networks,
    network_maps,
    pointing_game,
)
from utils.heatmaps.sanity import (
    NOTHING,
    OTHER_PATCH,
    cascading_randomisation,
    check_patches,
    similarity,
    stability,
)

__all__ = [
    "MEASURES",
    "METHODS",
    "NOTHING",
    "OTHER_PATCH",
    "DeadMaps",
    "HeatMapBatch",
    "annotated",
    "average_precision",
    "baseline_maps",
    "cascading_randomisation",
    "check_patches",
    "compare_with_baselines",
    "curve_areas",
    "energy_inside",
    "explain",
    "explain_layers",
    "insertion_deletion",
    "localization_table",
    "measure_networks",
    "network_maps",
    "pointing_game",
    "similarity",
    "stability",
    "stream",
]
