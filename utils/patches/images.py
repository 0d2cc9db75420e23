"""Pixels: RGB images, their stains and a table of their nuclei.

Stains are separated by colour deconvolution (Ruifrok and Johnston 2001), by scikit-image.
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from skimage.color import hed2rgb, rgb2hed
from skimage.measure import regionprops_table
from skimage.segmentation import clear_border

from utils.patches.patchset import NEOPLASTIC, NUCLEUS_TYPES, PatchSet
from utils.progress import progress_bar

_PROPERTIES = ("label", "area", "eccentricity", "solidity", "centroid", "intensity_mean")
_NAMES = {"label": "nucleus", "intensity_mean-0": "haematoxylin", "intensity_mean-1": "neoplastic"}
_NAMES |= {"centroid-0": "row", "centroid-1": "column"}
_COLUMNS = [
    "patch",
    "nucleus",
    "area",
    "eccentricity",
    "solidity",
    "row",
    "column",
    "haematoxylin",
    "neoplastic",
    "type",
    "whole",
]


def read_image(path: Path, size: int | None = None) -> np.ndarray:
    """Read an image as RGB, ``(H, W, 3)`` uint8, resized to `size` pixels square if it is given."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError(f"{path} cannot be read as an image: remove or replace it.")
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) if size else image


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Convert images from [0, 1], clipped, to 0 to 255; uint8 is returned unchanged.

    Parameters
    ----------
    images : array, any shape, float or uint8

    Returns
    -------
    array, of the same shape, uint8
    """
    if images.dtype == np.uint8:
        return images
    return np.uint8(np.round(255 * np.clip(images, 0, 1)))


def check_rgb(images: np.ndarray, name: str = "images") -> None:
    """Raise ValueError unless `images` are uint8 RGB ``(N, H, W, 3)``; no pixel is read."""
    dtype, shape = getattr(images, "dtype", type(images).__name__), np.shape(images)
    if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or shape[0] == 0:
        raise ValueError(
            f"{name} are {dtype} of shape {shape}; expected uint8 RGB patches of shape "
            "(N, H, W, 3), at least one, with values 0 to 255: scale and convert them first."
        )


def haematoxylin(images: np.ndarray) -> np.ndarray:
    """Optical density of haematoxylin; nuclei have a few hundredths to a few tenths."""
    return rgb2hed(images)[..., 0]


def change_stains(images: np.ndarray, factor: np.ndarray, shift: np.ndarray = 0) -> np.ndarray:
    """Scale and shift the densities of haematoxylin, eosin and residual (Tellez et al. 2018)."""
    return to_uint8(hed2rgb(rgb2hed(images) * factor + shift))


def nuclei_table(patches: PatchSet) -> pd.DataFrame:
    """Tabulate all nuclei of patches whose source has masks, one row per patch and nucleus.

    Columns: ``patch`` (index), ``nucleus`` (number in the source), ``area`` (pixels, of the part in
    the patch), ``eccentricity`` (0 for a circle), ``solidity`` (share of the convex hull), ``row``
    and ``column`` (centre in the patch), ``haematoxylin`` (mean density), ``neoplastic`` (share of
    its pixels of that type), ``type`` (of most pixels, see `NUCLEUS_TYPES`) and ``whole``
    (whether the border does not cut it).
    """
    if patches.masks is None or patches.nuclei is None:
        raise ValueError(f"{patches} has no masks of nuclei: measure its texture only.")
    tables = []
    for index in progress_bar(range(len(patches)), desc="nuclei", unit="patch"):
        image, types, nuclei = (a[index] for a in (patches.images, patches.masks, patches.nuclei))
        values = np.stack([haematoxylin(image), types == NEOPLASTIC], axis=-1)
        table = pd.DataFrame(regionprops_table(nuclei, values, properties=_PROPERTIES))
        whole = table["label"].isin(clear_border(nuclei).ravel())
        inside = nuclei > 0
        most = pd.Series(types[inside]).groupby(nuclei[inside]).agg(lambda values: values.mode()[0])
        names = table["label"].map(most).map(dict(enumerate(NUCLEUS_TYPES)))
        table = table.rename(columns=_NAMES)
        tables.append(table.assign(patch=index, whole=whole, type=names.fillna("unknown")))
    return pd.concat(tables, ignore_index=True)[_COLUMNS]
