"""Nuclei where none are annotated: found by their haematoxylin."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_multiotsu
from skimage.morphology import remove_small_holes, remove_small_objects
from skimage.segmentation import watershed

from utils.patches.images import haematoxylin
from utils.patches.patchset import UNTYPED, PatchSet
from utils.progress import progress_bar

MATCHED = 0.5  # intersection over union above which two nuclei are the same


def find_nuclei(patches: PatchSet, *, diameter: float | None = None) -> PatchSet:
    """Find the nuclei of patches that have no masks.

    Haematoxylin above the upper of two thresholds by Otsu's rule (Liao et al. 2001; of each group,
    whose stain is the same), split by a watershed of the distance to the background. The types of
    the nuclei stay unknown. ``python -m utils.patches nuclei`` prints how well it does.

    Parameters
    ----------
    patches : PatchSet
    diameter : float, optional
        Usual diameter of a nucleus, in pixels; by default 10 micrometres, which are taken for 20
        pixels where the size of the patches' pixels is unknown.

    Returns
    -------
    PatchSet
        The patches with ``masks`` and ``nuclei``, numbered from 1 in each patch.
    """
    diameter = 10 / (patches.microns_per_pixel or 0.5) if diameter is None else diameter
    if not diameter >= 4:
        raise ValueError(
            f"diameter is {diameter}; expected at least 4 pixels: enlarge the patches."
        )
    nuclei = np.zeros(patches.images.shape[:3], np.int32)
    groups = {name: np.flatnonzero(patches.groups == name) for name in np.unique(patches.groups)}
    for indices in progress_bar(groups.values(), desc="find nuclei", unit="group"):
        density = [
            cv2.GaussianBlur(haematoxylin(np.asarray(patches.images[i])), (0, 0), diameter / 10)
            for i in indices
        ]
        threshold = threshold_multiotsu(np.stack(density))[1]  # above background and other tissue
        for index, values in zip(indices, density, strict=True):
            nuclei[index] = _split(values > threshold, diameter)
    return replace(
        patches, nuclei=nuclei, masks=np.where(nuclei > 0, np.uint8(UNTYPED), np.uint8(0))
    )


def _split(dark: np.ndarray, diameter: float) -> np.ndarray:
    """Number the nuclei of a mask, ``(H, W)``; specks are left out and holes filled."""
    small = int(diameter**2 / 6)  # pixels, a fifth of a nucleus
    dark = remove_small_holes(remove_small_objects(dark, max_size=small), max_size=small)
    distance = cv2.GaussianBlur(ndimage.distance_transform_edt(dark), (0, 0), diameter / 10)
    options = {"min_distance": max(1, round(diameter / 4)), "exclude_border": False}
    seeds = np.zeros(dark.shape, np.int32)
    peaks = peak_local_max(distance, labels=ndimage.label(dark)[0], **options)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, seeds, mask=dark)


def compare_nuclei(detected: PatchSet, annotated: PatchSet) -> pd.DataFrame:
    """Compare detected nuclei with annotated ones.

    Parameters
    ----------
    detected, annotated : PatchSet
        The same patches, with nuclei.

    Returns
    -------
    DataFrame, one row per source, and all
        Numbers of ``patches`` and of nuclei (``detected``, ``annotated``), ``f1`` of detection
        (matched if intersection over union is above one half) and ``dice`` of their pixels.
    """
    rows = []
    for index, source in enumerate(annotated.sources):
        one, other = detected.nuclei[index], annotated.nuclei[index]
        counts = [len(np.unique(numbers[numbers > 0])) for numbers in (one, other)]
        both = (one > 0) & (other > 0)
        pairs, overlap = np.unique(np.stack([one[both], other[both]]), axis=1, return_counts=True)
        areas = (
            np.bincount(numbers.ravel())[of_pair]
            for numbers, of_pair in zip((one, other), pairs, strict=True)
        )
        matched = (overlap / (sum(areas) - overlap) > MATCHED).sum()
        pixels = both.sum(), (one > 0).sum() + (other > 0).sum()
        rows.append((source, 1, *counts, matched, *pixels))
    columns = ["source", "patches", "detected", "annotated", "matched", "both", "either"]
    table = pd.DataFrame(rows, columns=columns).groupby("source").sum()
    table.loc["all"] = table.sum()
    table["f1"] = 2 * table["matched"] / (table["detected"] + table["annotated"])
    table["dice"] = 2 * table["both"] / table["either"]
    return table[["patches", "detected", "annotated", "f1", "dice"]].reset_index()
