"""What the heat maps of a finetuned network are compared with: other maps and other networks."""

from collections import namedtuple
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from utils.heatmaps.maps import scaled
from utils.networks import Model, evaluate, linear_probe
from utils.patches import PatchSet
from utils.patches.images import haematoxylin

Baseline = namedtuple("Baseline", ["title", "style"])  # of a baseline map in figures
BASELINES = {
    "haematoxylin": Baseline(
        "haematoxylin map", {"color": "#56b4e9", "marker": "P", "linestyle": "--"}
    ),
    "centre": Baseline("centre map", {"color": "#7f7f7f", "marker": "s", "linestyle": "-."}),
    "random": Baseline("random map", {"color": "#7f7f7f", "marker": "x", "linestyle": ":"}),
    "uniform": Baseline("uniform map", {"color": "#000000", "marker": "+", "linestyle": ":"}),
}


def baseline_maps(images: np.ndarray, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Make baseline maps, which use no network.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
        Patches.
    seed : int
        Seed of ``random``.

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
    random = [cv2.GaussianBlur(draw, (0, 0), width / 20) for draw in noise]
    stain = [cv2.GaussianBlur(haematoxylin(image), (0, 0), 2) for image in images]
    maps = {"uniform": np.ones((count, height, width), np.float32)}
    centres = np.broadcast_to(centre, (count, height, width))
    for name, values in (("centre", centres), ("random", random), ("haematoxylin", stain)):
        values = np.float32(values)
        maps[name] = scaled(values - values.min(axis=(1, 2), keepdims=True))
    return maps


def baseline_networks(
    networks: Mapping[str, Model],
    training: PatchSet | None,
    held_out: PatchSet,
    *,
    once: Callable = lambda function, *arguments: function(*arguments),
) -> tuple[dict[str, Model], dict[str, float]]:
    """Put linear heads on the pretrained and the random network, whose maps are baselines.

    Parameters
    ----------
    networks : mapping of str to Model
        ``pretrained``, ``finetuned`` and ``random``, as from `load_networks`.
    training, held_out : PatchSet
        Patches to which the heads are fitted (None if unknown), and whose AUC is computed.
    once : callable
        Calls ``once(function, *arguments)``, such as `Run.once`, which keeps results.

    Returns
    -------
    dict of str to Model, dict of str to float
        ``finetuned`` and, unless `training` is None, ``pretrained`` and ``random``; and the area
        under the ROC curve of the latter.
    """
    with_heads, auc = {"finetuned": networks["finetuned"]}, {}
    for name in () if training is None else ("pretrained", "random"):
        with_heads[name] = linear_probe(networks[name], training)
        probability = once(with_heads[name].predict, held_out.images)
        auc[name] = evaluate(held_out, probability)["auc"]
    return with_heads, auc
