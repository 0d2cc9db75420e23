"""Concept measures: numbers that a pathologist can name, computed from the patch itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from skimage.color import rgb2hed
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

from utils.cluster import map_chunks
from utils.concepts.nuclei import (
    chromatin_measures,
    crowding_measures,
    nuclei_measures,
    pleomorphism_measures,
)
from utils.patches import PatchSet
from utils.patches.images import check_rgb
from utils.progress import progress_bar


@dataclass(frozen=True)
class ConceptMeasures:
    """Concepts that are analysed together."""

    title: str
    measure: Callable[..., pd.DataFrame]  # maps a PatchSet to one row per patch


CHUNK = 64  # patches that a worker measures at once
# The paper's dissimilarity and ASM are nearly contrast and energy again; energy is skewed.
TEXTURE = ("contrast", "homogeneity", "log energy", "correlation")
STAIN = ("haematoxylin", "eosin", "log ratio", "colourfulness")
PATTERNS = ("flat", "edges", "uniform share")
NUISANCES = ("sharpness", "white share", "x", "y")


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
    starts = range(0, len(images), CHUNK)
    chunks = ((str(start), (images[start : start + CHUNK],)) for start in starts)
    bar = {"desc": "texture", "total": len(starts)}
    rows = map_chunks(_texture, chunks, shared=(tuple(distances), tuple(angles)), **bar)
    table = pd.DataFrame(np.concatenate([values for _, values in rows]), columns=list(TEXTURE))
    return table.assign(**{"log energy": np.log(table["log energy"])})


def _texture(distances: tuple, angles: tuple, images: np.ndarray) -> np.ndarray:
    """Contrast, homogeneity, energy and correlation of n patches, ``(n, 4)``."""
    names, rows = ("contrast", "homogeneity", "energy", "correlation"), []
    for image in images:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        matrix = graycomatrix(grey, distances, angles, levels=256, symmetric=True, normed=True)
        rows.append([graycoprops(matrix, name).mean() for name in names])
    return np.array(rows)


def stain_measures(patches: PatchSet) -> pd.DataFrame:
    """Measure the stains of patches.

    Parameters
    ----------
    patches : PatchSet of N patches

    Returns
    -------
    DataFrame, N rows
        Mean densities of ``haematoxylin`` and ``eosin`` (Ruifrok and Johnston 2001), the ``log
        ratio`` of the first to the second, and ``colourfulness`` (Hasler and Süsstrunk 2003).
    """

    def stains(image: np.ndarray) -> list[float]:
        densities = rgb2hed(image)[..., :2].mean(axis=(0, 1))
        red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
        opponents = np.stack([red - green, (red + green) / 2 - blue])
        spread, mean = (np.hypot(*f(opponents, axis=(1, 2))) for f in (np.std, np.mean))
        ratio = np.log(np.maximum(densities, 1e-6))
        return [*densities, ratio[0] - ratio[1], spread + 0.3 * mean]

    return _measure_images(patches, stains, STAIN, "stain")


def pattern_measures(patches: PatchSet) -> pd.DataFrame:
    """Measure the local binary patterns of patches (Ojala et al. 2002), 8 neighbours, radius 1.

    Parameters
    ----------
    patches : PatchSet of N patches

    Returns
    -------
    DataFrame, N rows
        Shares of pixels that no neighbour is darker than (``flat``, and spots), whose darker and
        lighter neighbours are half and half (``edges``), and whose pattern has at most two changes
        (``uniform share``).
    """

    def patterns(image: np.ndarray) -> list[float]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        codes = local_binary_pattern(grey, 8, 1, method="uniform")
        shares = np.bincount(codes.astype(int).ravel(), minlength=10) / codes.size
        return [shares[8], shares[4], 1 - shares[9]]

    return _measure_images(patches, patterns, PATTERNS, "patterns")


def nuisance_measures(patches: PatchSet) -> pd.DataFrame:
    """Measure what should not matter: a network that knows it is a negative control.

    Parameters
    ----------
    patches : PatchSet of N patches

    Returns
    -------
    DataFrame, N rows
        ``sharpness`` (log variance of the Laplacian), ``white share`` of pixels, and ``x`` and
        ``y``, the place in the source; NaN where it is unknown.
    """

    def nuisances(image: np.ndarray) -> list[float]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        variance = cv2.Laplacian(grey, cv2.CV_64F).var()
        return [np.log(variance + 1), (image.min(axis=-1) > 200).mean()]

    table = _measure_images(patches, nuisances, NUISANCES[:2], "nuisances")
    known = (patches.positions >= 0).all(axis=1, keepdims=True)
    places = np.where(known, patches.positions, np.nan)
    return table.assign(**dict(zip(NUISANCES[2:], places.T, strict=True)))


def _measure_images(
    patches: PatchSet,
    measure: Callable[[np.ndarray], list[float]],
    names: Sequence[str],
    description: str,
) -> pd.DataFrame:
    """Measure each image by itself, one column per name."""
    images = progress_bar(patches.images, desc=description, unit="patch")
    return pd.DataFrame([measure(np.asarray(image)) for image in images], columns=list(names))


def _texture_of_patches(patches: PatchSet, **options) -> pd.DataFrame:
    return texture_measures(patches.images, **options)


MEASURES = {
    "texture": ConceptMeasures("Texture", _texture_of_patches),
    "nuclei": ConceptMeasures("Nuclei", nuclei_measures),
    "pleomorphism": ConceptMeasures("Pleomorphism", pleomorphism_measures),
    "chromatin": ConceptMeasures("Chromatin", chromatin_measures),
    "crowding": ConceptMeasures("Crowding", crowding_measures),
    "stain": ConceptMeasures("Stain", stain_measures),
    "patterns": ConceptMeasures("Local binary patterns", pattern_measures),
    "nuisances": ConceptMeasures("Nuisances, a negative control", nuisance_measures),
}
