"""Where patches come from: labelled patches with their origin, and readers of all sources."""

from utils.patches.annotations import Annotations, read_annotations
from utils.patches.cutting import Cut, load_slides
from utils.patches.hdf5 import load_hdf5, write_hdf5
from utils.patches.images import to_uint8
from utils.patches.nuclei import compare_nuclei, find_nuclei
from utils.patches.patchset import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.patches.readers import (
    READERS,
    Reader,
    list_slides,
    load_folder,
    load_patchcamelyon,
    load_patches,
)
from utils.patches.sample import load_sample
from utils.patches.slides import Slide, SlidePatches, is_slide, open_slide
from utils.patches.stain import match_stain, resize
from utils.patches.tissue import Tissue, TissueOptions, find_tissue

__all__ = [
    "NEOPLASTIC",
    "READERS",
    "UNANNOTATED",
    "Annotations",
    "Cut",
    "PatchSet",
    "Reader",
    "Slide",
    "SlidePatches",
    "Tissue",
    "TissueOptions",
    "compare_nuclei",
    "find_nuclei",
    "find_tissue",
    "is_slide",
    "list_slides",
    "load_folder",
    "load_hdf5",
    "load_patchcamelyon",
    "load_patches",
    "load_sample",
    "load_slides",
    "match_stain",
    "open_slide",
    "read_annotations",
    "resize",
    "to_uint8",
    "write_hdf5",
]
