"""Stains: density of haematoxylin, and small changes of all densities.

Colour deconvolution after Ruifrok and Johnston (2001), by scikit-image.
"""

import numpy as np
from skimage.color import hed2rgb, rgb2hed

from utils.patches.images import to_uint8


def haematoxylin(images: np.ndarray) -> np.ndarray:
    """Measure the density of haematoxylin.

    Parameters
    ----------
    images : array, (..., H, W, 3), uint8
        RGB.

    Returns
    -------
    array, (..., H, W), float64
        Optical density; nuclei have a few hundredths to a few tenths.
    """
    return rgb2hed(images)[..., 0]


def change_stains(images: np.ndarray, factor: np.ndarray, shift: np.ndarray = 0) -> np.ndarray:
    """Scale and shift the densities of the stains (Tellez et al. 2018).

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
        RGB.
    factor, shift : array, broadcast against (N, 1, 1, 3)
        For haematoxylin, eosin and the residual.

    Returns
    -------
    array, (N, H, W, 3), uint8
    """
    return to_uint8(hed2rgb(rgb2hed(images) * factor + shift))
