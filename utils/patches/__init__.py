"""Where patches come from: labelled patches with their origin, and readers of all sources."""

from utils.patches.folders import load_folder
from utils.patches.hdf5 import load_hdf5, load_patchcamelyon
from utils.patches.images import check_rgb, to_uint8
from utils.patches.nuclei import nuclei_table
from utils.patches.patchset import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.patches.readers import READERS, Reader, load_patches
from utils.patches.sample import load_sample
from utils.patches.stain import change_stains, haematoxylin

__all__ = [
    "NEOPLASTIC",
    "READERS",
    "UNANNOTATED",
    "PatchSet",
    "Reader",
    "change_stains",
    "check_rgb",
    "haematoxylin",
    "load_folder",
    "load_hdf5",
    "load_patchcamelyon",
    "load_patches",
    "load_sample",
    "nuclei_table",
    "to_uint8",
]
