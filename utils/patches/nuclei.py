"""One table of all nuclei of annotated patches."""

import numpy as np
import pandas as pd
from skimage.measure import regionprops_table

from utils.patches.images import haematoxylin
from utils.patches.patchset import NEOPLASTIC, PatchSet
from utils.progress import progress_bar

_PROPERTIES = ("label", "area", "eccentricity", "bbox", "intensity_mean")
_NAMES = {"label": "nucleus", "intensity_mean-0": "haematoxylin", "intensity_mean-1": "neoplastic"}
_COLUMNS = ["patch", "nucleus", "area", "eccentricity", "haematoxylin", "neoplastic", "whole"]


def nuclei_table(patches: PatchSet) -> pd.DataFrame:
    """Tabulate all nuclei of patches whose source has masks, one row per patch and nucleus.

    Columns: ``patch`` (index), ``nucleus`` (number in the source), ``area`` (pixels, of the part in
    the patch), ``eccentricity`` (0 for a circle), ``haematoxylin`` (mean density), ``neoplastic``
    (share of its pixels of that type) and ``whole`` (whether the border does not cut it).
    """
    if patches.masks is None or patches.nuclei is None:
        raise ValueError(f"{patches} has no masks of nuclei: measure its texture only.")
    tables = []
    for index in progress_bar(range(len(patches)), desc="nuclei", unit="patch"):
        image, types, nuclei = (a[index] for a in (patches.images, patches.masks, patches.nuclei))
        values = np.stack([haematoxylin(image), types == NEOPLASTIC], axis=-1)
        table = pd.DataFrame(regionprops_table(nuclei, values, properties=_PROPERTIES))
        top, left, bottom, right = (table[f"bbox-{side}"] for side in range(4))
        height, width = nuclei.shape
        whole = (top > 0) & (left > 0) & (bottom < height) & (right < width)
        tables.append(table.rename(columns=_NAMES).assign(patch=index, whole=whole))
    return pd.concat(tables, ignore_index=True)[_COLUMNS]
