"""What the heat maps of a finetuned network are compared with: other maps and other networks."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import cv2
import numpy as np

from utils.networks import Model, evaluate, linear_probe
from utils.patches import PatchSet
from utils.patches.images import haematoxylin


class Baseline(NamedTuple):
    """Title and matplotlib style of a baseline map in figures."""

    title: str
    style: dict[str, str]


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
        ``uniform``; ``centre``, a Gaussian with a deviation of a quarter of the patch; ``random``
        positions, a new draw for each patch, as coarse as nuclei; and ``haematoxylin``, the stain's
        density after Ruifrok and Johnston (2001), slightly smoothed.
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
    training : PatchSet or None
        Patches that the finetuned network was trained on, to which the heads are fitted; None if
        unknown.
    held_out : PatchSet
        Patches on which the AUC is computed.
    once : callable
        Calls ``once(function, *arguments)``, such as `Run.once`, which keeps results.

    Returns
    -------
    networks : dict of str to Model
        ``finetuned`` and, unless `training` is None, ``pretrained`` and ``random`` with heads.
    auc : dict of str to float
        Area under the ROC curve of the networks with linear heads.
    """
    with_heads, auc = {"finetuned": networks["finetuned"]}, {}
    for name in () if training is None else ("pretrained", "random"):
        with_heads[name] = linear_probe(networks[name], training)
        probability = once(with_heads[name].predict, held_out.images)
        auc[name] = evaluate(held_out, probability)["auc"]
    return with_heads, auc
