"""Nuclei of annotated patches: one table of all, and their outlines."""

import cv2
import numpy as np
import pandas as pd
from skimage.measure import regionprops_table

from utils.patches.patchset import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.patches.stain import haematoxylin
from utils.progress import progress_bar

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
    names = {
        "patch": "patch",
        "label": "nucleus",
        "area": "area",
        "eccentricity": "eccentricity",
        "intensity_mean-0": "haematoxylin",
        "intensity_mean-1": "neoplastic",
        "whole": "whole",
    }
    if not parts:
        return pd.DataFrame(columns=list(names.values()))
    return pd.concat(parts, ignore_index=True)[list(names)].rename(columns=names)


def outline_neoplastic(patches: PatchSet) -> np.ndarray | None:
    """Draw the outlines of neoplastic nuclei, in yellow, on copies of the patches.

    Parameters
    ----------
    patches : PatchSet

    Returns
    -------
    array, (N, H, W, 3), uint8, or None
        Patches of a source without masks say so instead; None if no patch has masks.
    """
    if patches.masks is None:
        return None
    images = patches.images.copy()
    for image, mask in zip(images, patches.masks, strict=True):
        if (mask == UNANNOTATED).any():
            image[:] = 235
            place = (10, image.shape[0] // 2)
            cv2.putText(image, "not annotated", place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (90, 90, 90))
            continue
        neoplastic = np.uint8(mask == NEOPLASTIC)
        contours, _ = cv2.findContours(neoplastic, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(image, contours, -1, (255, 255, 0), 2)
    return images
