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
from utils.heatmaps.methods import METHODS, Method
from utils.heatmaps.sanity import OTHER_PATCH, cascading_randomisation, check_patches, stability

__all__ = [
    "BASELINES",
    "MEASURES",
    "METHODS",
    "OTHER_PATCH",
    "DeadMaps",
    "Method",
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
    "stability",
    "stream",
]
