"""Where patches come from: labelled patches with their origin, and readers of all sources."""

from utils.patches.images import to_uint8
from utils.patches.nuclei import compare_nuclei, find_nuclei
from utils.patches.patchset import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.patches.readers import (
    READERS,
    Reader,
    load_folder,
    load_hdf5,
    load_patchcamelyon,
    load_patches,
)
from utils.patches.sample import load_sample
from utils.patches.stain import match_stain, resize

__all__ = [
    "NEOPLASTIC",
    "READERS",
    "UNANNOTATED",
    "PatchSet",
    "Reader",
    "compare_nuclei",
    "find_nuclei",
    "load_folder",
    "load_hdf5",
    "load_patchcamelyon",
    "load_patches",
    "load_sample",
    "match_stain",
    "resize",
    "to_uint8",
]
