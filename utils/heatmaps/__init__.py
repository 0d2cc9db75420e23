"""Where the evidence lies: heat maps, and their evaluation."""

from utils.heatmaps.baselines import BASELINES, baseline_maps
from utils.heatmaps.comparison import (
    IOUS,
    Measured,
    annotated,
    compare_with_rivals,
    differences_from_rivals,
    measure_finetunings,
    measure_networks,
)
from utils.heatmaps.insertion import (
    curve_areas,
    curves_of_finetunings,
    insertion_deletion,
    remove_and_impute,
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
from utils.heatmaps.placement import StretchedMaps, place
from utils.heatmaps.pointing import MEASURES
from utils.heatmaps.sanity import (
    ORDERS,
    OTHER_PATCH,
    SIMILARITIES,
    TWO_RANDOM,
    cascading_randomisation,
    check_patches,
    repeatability,
    stability,
    stability_by_placement,
)
from utils.heatmaps.slides import SlideMaps, evaluate_slide, highest_regions, map_slide

__all__ = [
    "BASELINES",
    "IOUS",
    "MEASURES",
    "METHODS",
    "ONE_PASS",
    "ORDERS",
    "OTHER_PATCH",
    "SIMILARITIES",
    "TWO_RANDOM",
    "DeadMaps",
    "Measured",
    "Method",
    "SlideMaps",
    "StretchedMaps",
    "annotated",
    "baseline_maps",
    "cascading_randomisation",
    "check_patches",
    "compare_with_rivals",
    "curve_areas",
    "curves_of_finetunings",
    "differences_from_rivals",
    "evaluate_slide",
    "explain",
    "explain_by_outcome",
    "explain_layers",
    "highest_regions",
    "insertion_deletion",
    "map_slide",
    "measure_finetunings",
    "measure_networks",
    "nuclei_of_finetunings",
    "rank_agreement",
    "removal_effects",
    "remove_and_impute",
    "repeatability",
    "sharp_lime",
    "stability",
    "place",
    "stability_by_placement",
    "stream",
    "type_effects",
]
