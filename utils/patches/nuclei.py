"""One table of all nuclei of annotated patches."""

import numpy as np
import pandas as pd
from skimage.measure import regionprops_table

from utils.patches.patchset import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.patches.stain import haematoxylin
from utils.progress import progress_bar

_COLUMNS = {"patch": int, "nucleus": int, "area": float, "eccentricity": float}
_COLUMNS |= {"haematoxylin": float, "neoplastic": float, "whole": bool}
_PROPERTIES = ("label", "area", "eccentricity", "bbox", "intensity_mean")
_NAMES = {"label": "nucleus", "intensity_mean-0": "haematoxylin", "intensity_mean-1": "neoplastic"}


def nuclei_table(patches: PatchSet) -> pd.DataFrame:
    """Tabulate the nuclei of every patch whose source has masks.

    Parameters
    ----------
    patches : PatchSet
        Patches with `masks` and `nuclei`.

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
    tables = [pd.DataFrame({name: np.zeros(0, dtype) for name, dtype in _COLUMNS.items()})]
    for index in progress_bar(range(len(patches)), desc="nuclei", unit="patch"):
        image, types, nuclei = (a[index] for a in (patches.images, patches.masks, patches.nuclei))
        if (types == UNANNOTATED).any() or not (nuclei > 0).any():
            continue
        values = np.stack([haematoxylin(image), types == NEOPLASTIC], axis=-1)
        table = pd.DataFrame(regionprops_table(nuclei, values, properties=_PROPERTIES))
        height, width = nuclei.shape
        whole = (table["bbox-0"] > 0) & (table["bbox-1"] > 0)
        whole &= (table["bbox-2"] < height) & (table["bbox-3"] < width)
        tables.append(table.rename(columns=_NAMES).assign(patch=index, whole=whole))
    return pd.concat(tables[1:] or tables, ignore_index=True)[list(_COLUMNS)]
