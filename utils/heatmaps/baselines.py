"""Baseline maps that use no network."""

import cv2
import numpy as np

from utils.patches.images import haematoxylin


def baseline_maps(images: np.ndarray, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Make maps that use no network and that every method has to beat.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
    seed : int
        Seed of ``random``.

    Returns
    -------
    dict of str to array, (N, H, W), float32 in [0, 1]
        ``uniform``; ``centre``, a Gaussian with a deviation of a quarter of the patch; ``random``
        places, a new draw for each patch, as coarse as nuclei; and ``haematoxylin``, the stain's
        density after Ruifrok and Johnston (2001), a little smoothed.
    """
    count, height, width = images.shape[:3]
    y, x = (np.linspace(-2, 2, side) for side in (height, width))
    centre = np.exp(-(y[:, None] ** 2 + x**2) / 2)
    noise = np.random.default_rng(seed).normal(size=(count, height, width))
    random = [cv2.GaussianBlur(draw, (0, 0), width / 20) for draw in noise]
    stain = [cv2.GaussianBlur(haematoxylin(image), (0, 0), 2) for image in images]

    def scaled(maps) -> np.ndarray:
        maps = np.float32(maps)
        maps = maps - maps.min(axis=(1, 2), keepdims=True)
        peaks = maps.max(axis=(1, 2), keepdims=True)
        return np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0)

    return {
        "uniform": np.ones((count, height, width), np.float32),
        "centre": scaled(np.broadcast_to(centre, (count, height, width))),
        "random": scaled(random),
        "haematoxylin": scaled(stain),
    }
