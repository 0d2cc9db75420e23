"""Concept measures: numbers that a pathologist can name, computed from the patch itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from skimage.feature import graycomatrix, graycoprops

from utils.patches import PatchSet
from utils.patches.images import check_rgb, nuclei_table
from utils.progress import progress_bar


@dataclass(frozen=True)
class ConceptMeasures:
    """Concepts that are analysed together."""

    title: str
    measure: Callable[..., pd.DataFrame]  # maps a PatchSet to one row per patch


# The paper's dissimilarity and ASM are nearly contrast and energy again; energy is skewed.
TEXTURE = ("contrast", "homogeneity", "log energy", "correlation")
NUCLEI = ("number", "area", "eccentricity", "haematoxylin", "neoplastic share")


def texture_measures(
    images: np.ndarray, *, distances: Sequence[int] = (5,), angles: Sequence[float] = (0.0,)
) -> pd.DataFrame:
    """Measure the texture of patches by their grey-level co-occurrence matrix (Haralick 1973).

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
    distances, angles : sequence of float
        Distances (pixels) and directions (radians) of the pairs; the measures are their means.

    Returns
    -------
    DataFrame, N rows
        Columns as in `TEXTURE`, of 256 grey levels, by ``skimage.feature.graycoprops``; the energy
        as its natural logarithm.
    """
    check_rgb(images)
    largest = min(images.shape[1:3]) - 1
    if not all(1 <= distance <= largest for distance in distances):
        raise ValueError(f"distances are {distances}; expected 1 to {largest} pixels.")
    rows = []
    for image in progress_bar(images, desc="texture", unit="patch"):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        matrix = graycomatrix(grey, distances, angles, levels=256, symmetric=True, normed=True)
        names = ("contrast", "homogeneity", "energy", "correlation")
        rows.append([graycoprops(matrix, name).mean() for name in names])
    table = pd.DataFrame(rows, columns=list(TEXTURE))
    return table.assign(**{"log energy": np.log(table["log energy"])})


def nuclei_measures(patches: PatchSet) -> pd.DataFrame:
    """Measure the nuclei of patches.

    Parameters
    ----------
    patches : PatchSet
        N patches, best with `masks` and `nuclei`.

    Returns
    -------
    DataFrame, N rows
        ``number`` of nuclei, cut ones too; mean ``area`` (square pixels) and ``eccentricity`` (0
        for a circle) of whole ones; mean density of ``haematoxylin`` over the nuclei's pixels, and
        ``neoplastic share`` of their area. NaN without such a nucleus, or without masks.
    """
    if patches.nuclei is None:
        return pd.DataFrame(np.nan, index=range(len(patches)), columns=list(NUCLEI))
    nuclei = nuclei_table(patches)
    by_patch = nuclei.groupby("patch")
    whole = nuclei[nuclei["whole"]].groupby("patch")
    area = by_patch["area"].sum()
    means = [
        (nuclei[column] * nuclei["area"]).groupby(nuclei["patch"]).sum() / area
        for column in ("haematoxylin", "neoplastic")
    ]
    columns = [by_patch.size(), whole["area"].mean(), whole["eccentricity"].mean(), *means]
    measures = pd.DataFrame(dict(zip(NUCLEI, columns, strict=True)), dtype=np.float64)
    return measures.reindex(range(len(patches))).rename_axis(None)


def _texture_of_patches(patches: PatchSet, **options) -> pd.DataFrame:
    return texture_measures(patches.images, **options)


MEASURES = {
    "texture": ConceptMeasures("Texture", _texture_of_patches),
    "nuclei": ConceptMeasures("Nuclei", nuclei_measures),
}
