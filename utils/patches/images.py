"""Pixels: reading, checking and converting RGB images, and the stains that colour them.

Stains are separated by colour deconvolution (Ruifrok and Johnston 2001), by scikit-image.
"""

from pathlib import Path

import cv2
import numpy as np
from skimage.color import hed2rgb, rgb2hed


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB, ``(H, W, 3)`` uint8."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError(f"{path} cannot be read as an image: remove or replace it.")
    return image


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Convert images from [0, 1] to 0 to 255.

    Parameters
    ----------
    images : array, any shape, float in [0, 1] or uint8
        Values outside are clipped; uint8 is returned unchanged.

    Returns
    -------
    array, of the same shape, uint8
    """
    if images.dtype == np.uint8:
        return images
    return np.uint8(np.round(255 * np.clip(images, 0, 1)))


def check_rgb(images: np.ndarray, name: str = "images") -> None:
    """Raise ValueError unless `images` are uint8 RGB ``(N, H, W, 3)``; no pixel is read."""
    expected = "expected uint8 RGB patches of shape (N, H, W, 3) with values 0 to 255"
    dtype = getattr(images, "dtype", type(images).__name__)
    if dtype != np.uint8:
        raise ValueError(f"{name} are {dtype}; {expected}: scale and convert them first.")
    if len(images.shape) != 4 or images.shape[-1] != 3:
        raise ValueError(f"{name} have the shape {tuple(images.shape)}; {expected}.")
    if len(images) == 0:
        raise ValueError(f"the set of {name} is empty; {expected}.")


def haematoxylin(images: np.ndarray) -> np.ndarray:
    """Optical density of haematoxylin; nuclei have a few hundredths to a few tenths."""
    return rgb2hed(images)[..., 0]


def change_stains(images: np.ndarray, factor: np.ndarray, shift: np.ndarray = 0) -> np.ndarray:
    """Scale and shift the densities of haematoxylin, eosin and residual (Tellez et al. 2018)."""
    return to_uint8(hed2rgb(rgb2hed(images) * factor + shift))
