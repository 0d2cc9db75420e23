"""Nuclei of annotated patches: one table of all."""

import numpy as np
import pandas as pd
from skimage.measure import regionprops_table

from utils.patches.patchset import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.patches.stain import haematoxylin
from utils.progress import progress_bar

_EMPTY = {
    "patch": int,
    "nucleus": int,
    "area": float,
    "eccentricity": float,
    "haematoxylin": float,
    "neoplastic": float,
    "whole": bool,
}
_PROPERTIES = ("label", "area", "eccentricity", "bbox", "intensity_mean")


def nuclei_table(patches: PatchSet) -> pd.DataFrame:
    """Tabulate the nuclei of every patch whose source has masks.

    Parameters
    ----------
    patches : PatchSet
        With `masks` and `nuclei`.

    Returns
    -------
    DataFrame
        One row per patch and nucleus: ``patch`` (index), ``nucleus`` (number in the source),
        ``area`` (pixels, of the part in the patch), ``eccentricity`` (0 for a circle),
        ``haematoxylin`` (mean density), ``neoplastic`` (share of its pixels of that type) and
        ``whole`` (whether the border does not cut it).
    """
    if patches.masks is None or patches.nuclei is None:
        raise ValueError(f"{patches} has no masks of nuclei: measure its texture only.")
    parts = []
    for index in progress_bar(range(len(patches)), desc="nuclei", unit="patch"):
        image, types, nuclei = (a[index] for a in (patches.images, patches.masks, patches.nuclei))
        if (types == UNANNOTATED).any() or not (nuclei > 0).any():
            continue
        values = np.stack([haematoxylin(image), types == NEOPLASTIC], axis=-1)
        part = pd.DataFrame(regionprops_table(nuclei, values, properties=_PROPERTIES))
        height, width = nuclei.shape
        inside = (part["bbox-0"] > 0) & (part["bbox-1"] > 0)
        inside &= (part["bbox-2"] < height) & (part["bbox-3"] < width)
        parts.append(part.assign(patch=index, whole=inside))
    parts = parts or [pd.DataFrame({name: np.zeros(0, dtype) for name, dtype in _EMPTY.items()})]
    names = {"label": "nucleus", "intensity_mean-0": "haematoxylin"}
    table = pd.concat(parts, ignore_index=True)
    return table.rename(columns={**names, "intensity_mean-1": "neoplastic"})[list(_EMPTY)]
