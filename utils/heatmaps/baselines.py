"""Baseline maps, which know nothing about a network."""

from collections import namedtuple

import cv2
import numpy as np

from utils.heatmaps.maps import divide_by_peak
from utils.patches.images import haematoxylin

Baseline = namedtuple("Baseline", ["title", "style"])  # of a baseline map in figures
BASELINES = {
    name: Baseline(f"{name} map", {"color": color, "marker": marker, "linestyle": line})
    for name, color, marker, line in (
        ("haematoxylin", "#56b4e9", "P", "--"),
        ("centre", "#7f7f7f", "d", "-."),
        ("random", "#7f7f7f", "x", ":"),
        ("uniform", "#000000", "+", ":"),
    )
}


def baseline_maps(images: np.ndarray, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Make baseline maps, which use no network.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
    seed : int

    Returns
    -------
    dict of str to array, (N, H, W), float32 in [0, 1]
        ``uniform``; ``centre``, a Gaussian; ``random``, smoothed noise as coarse as nuclei; and
        ``haematoxylin``, the stain's density after Ruifrok and Johnston (2001), smoothed.
    """
    count, height, width = images.shape[:3]
    y, x = (np.linspace(-2, 2, side) for side in (height, width))  # in standard deviations
    centre = np.exp(-(y[:, None] ** 2 + x**2) / 2)
    noise = np.random.default_rng(seed).normal(size=(count, height, width))
    fields = {
        "centre": np.tile(centre, (count, 1, 1)),
        "random": [cv2.GaussianBlur(draw, (0, 0), width / 20) for draw in noise],
        "haematoxylin": [cv2.GaussianBlur(haematoxylin(image), (0, 0), 2) for image in images],
    }
    maps = {"uniform": np.ones((count, height, width), np.float32)}
    for name, values in fields.items():
        values = np.float32(values)
        maps[name] = divide_by_peak(values - values.min(axis=(1, 2), keepdims=True))
    return maps
