"""Measures of nuclei that pathologists grade by: size, shape, variation, chromatin, crowding."""

import cv2
import numpy as np
import pandas as pd
from scipy.spatial import Delaunay, QhullError
from skimage.feature import graycomatrix, graycoprops

from utils.patches import PatchSet
from utils.patches.images import nuclei_table
from utils.progress import progress_bar

NUCLEI = ("number", "area", "eccentricity", "haematoxylin", "neoplastic share")
PLEOMORPHISM = ("variation of area", "variation of shape", "variation of stain", "solidity")
CHROMATIN = ("contrast", "homogeneity", "correlation")  # of grey levels inside nuclei
CROWDING = ("nearest distance", "edge length", "variation of edges")
LEAST = 3  # nuclei of a patch, for a variation between them
LEVELS = 32  # grey levels inside nuclei, which are few pixels


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


def pleomorphism_measures(patches: PatchSet) -> pd.DataFrame:
    """Measure how much the whole nuclei of a patch differ.

    Parameters
    ----------
    patches : PatchSet
        N patches, best with `masks` and `nuclei`.

    Returns
    -------
    DataFrame, N rows
        Deviation over mean of the area, deviation of the eccentricity and of the mean density of
        haematoxylin, and mean ``solidity`` (share of the convex hull). NaN with fewer than three.
    """
    nuclei = _whole(patches)
    by_patch = nuclei.groupby("patch")
    enough = by_patch.size() >= LEAST
    deviation = by_patch[["area", "eccentricity", "haematoxylin"]].std()
    columns = {
        "variation of area": deviation["area"] / by_patch["area"].mean(),
        "variation of shape": deviation["eccentricity"],
        "variation of stain": deviation["haematoxylin"],
        "solidity": by_patch["solidity"].mean(),
    }
    table = pd.DataFrame({name: columns[name] for name in PLEOMORPHISM}, dtype=np.float64)
    return table.where(enough, axis=0).reindex(range(len(patches))).rename_axis(None)


def chromatin_measures(patches: PatchSet) -> pd.DataFrame:
    """Measure the texture inside nuclei, by the grey-level co-occurrence of neighbouring pixels.

    Parameters
    ----------
    patches : PatchSet
        N patches, best with `masks` and `nuclei`.

    Returns
    -------
    DataFrame, N rows
        ``contrast``, ``homogeneity`` and ``correlation`` of pairs within a nucleus, one pixel
        apart, over all nuclei of the patch. NaN without nuclei.
    """
    rows = np.full((len(patches), len(CHROMATIN)), np.nan)
    indices = range(len(patches)) if patches.nuclei is not None else []
    for index in progress_bar(indices, desc="chromatin", unit="patch"):
        inside = cv2.erode(np.uint8(patches.nuclei[index] > 0), np.ones((3, 3), np.uint8)) > 0
        grey = cv2.cvtColor(np.asarray(patches.images[index]), cv2.COLOR_RGB2GRAY)
        # Level 0 is everything outside, whose pairs are left out.
        levels = np.where(inside, 1 + grey // (256 // LEVELS), 0).astype(np.uint8)
        options = {"levels": LEVELS + 1, "symmetric": True}
        counts = graycomatrix(levels, [1], [0, np.pi / 2], **options)[1:, 1:].sum(
            axis=3, keepdims=True
        )
        if counts.sum():
            matrix = counts / counts.sum()
            rows[index] = [graycoprops(matrix, name).item() for name in CHROMATIN]
    return pd.DataFrame(rows, columns=list(CHROMATIN))


def crowding_measures(patches: PatchSet) -> pd.DataFrame:
    """Measure how close the nuclei of a patch lie, by their Delaunay triangulation.

    Parameters
    ----------
    patches : PatchSet
        N patches, best with `masks` and `nuclei`.

    Returns
    -------
    DataFrame, N rows
        Mean distance from the centre of a nucleus to the nearest other, mean length of the edges
        between neighbours, in pixels, and its deviation over mean. NaN with fewer than three.
    """
    rows = np.full((len(patches), len(CROWDING)), np.nan)
    if patches.nuclei is not None:
        for index, nuclei in nuclei_table(patches).groupby("patch"):
            lengths = _edges(nuclei[["row", "column"]].to_numpy())
            if lengths is not None:
                nearest, edges = lengths
                rows[index] = nearest.mean(), edges.mean(), edges.std() / edges.mean()
    return pd.DataFrame(rows, columns=list(CROWDING))


def _edges(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Distance of each centre, (n, 2), to the nearest, and length of each edge; None for a line."""
    if len(centres) < LEAST:
        return None
    try:
        triangles = Delaunay(centres).simplices
    except QhullError:
        return None
    pairs = np.sort(triangles[:, [[0, 1], [1, 2], [0, 2]]].reshape(-1, 2), axis=1)
    pairs = np.unique(pairs, axis=0)
    lengths = np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1)
    nearest = np.full(len(centres), np.inf)  # the nearest is always a Delaunay neighbour
    for side in (0, 1):
        np.minimum.at(nearest, pairs[:, side], lengths)
    return nearest, lengths


def _whole(patches: PatchSet) -> pd.DataFrame:
    """Tabulate the nuclei that no border cuts; none without masks."""
    if patches.nuclei is None:
        columns = ["patch", "area", "eccentricity", "haematoxylin", "solidity"]
        return pd.DataFrame(columns=columns, dtype=float)
    nuclei = nuclei_table(patches)
    return nuclei[nuclei["whole"]]
