"""Concept measures: numbers that a pathologist can name, computed from the patch itself."""

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from skimage.feature import graycomatrix, graycoprops
from tqdm.auto import tqdm

TEXTURE = ("contrast", "dissimilarity", "homogeneity", "ASM", "energy", "correlation")


def texture_measures(
    images: np.ndarray, *, distances: Sequence[int] = (5,), angles: Sequence[float] = (0.0,)
) -> pd.DataFrame:
    """Measure the texture of patches by their grey-level co-occurrence matrix (Haralick 1973).

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
        RGB patches, turned to 256 grey levels.
    distances : sequence of int
        Pixels between the two pixels of a pair. The measures are means over distances and angles.
    angles : sequence of float
        Directions of the pairs, in radians.

    Returns
    -------
    DataFrame, N rows
        Columns as in `TEXTURE`, by ``skimage.feature.graycoprops``.

    Raises
    ------
    ValueError
        If the images are not uint8 RGB, or there are none.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not len(images):
        raise ValueError(
            f"images are {images.dtype} of shape {images.shape}; expected uint8, (N, H, W, 3)."
        )
    rows = []
    for image in tqdm(images, desc="texture", unit="patch"):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        matrix = graycomatrix(grey, distances, angles, levels=256, symmetric=True, normed=True)
        rows.append([graycoprops(matrix, name).mean() for name in TEXTURE])
    return pd.DataFrame(rows, columns=list(TEXTURE))
