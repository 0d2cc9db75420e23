"""Where patches come from: labelled patches with their origin, and readers of every source."""

from utils.patches.folders import load_folder
from utils.patches.hdf5 import load_hdf5, load_patchcamelyon
from utils.patches.patchset import (
    CLASS_NAMES,
    MASK_NAMES,
    NEOPLASTIC,
    UNANNOTATED,
    PatchSet,
    check_disjoint,
)
from utils.patches.readers import load_patches
from utils.patches.sample import load_sample

__all__ = [
    "CLASS_NAMES",
    "MASK_NAMES",
    "NEOPLASTIC",
    "UNANNOTATED",
    "PatchSet",
    "check_disjoint",
    "load_folder",
    "load_hdf5",
    "load_patchcamelyon",
    "load_patches",
    "load_sample",
]
