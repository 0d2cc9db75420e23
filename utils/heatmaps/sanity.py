"""Sanity checks: whether heat maps depend on the weights, and whether they are stable."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from utils.heatmaps.maps import DeadMaps, Maps
from utils.networks import Model
from utils.networks.weights import randomise
from utils.patches import PatchSet
from utils.patches.images import change_stains
from utils.progress import progress_bar

OTHER_PATCH = "another patch"  # the baseline of similarity: maps that have nothing in common
NOTHING = "none"  # of the weights is kept
Explainer = Callable[[Model, np.ndarray], Maps]


def cascading_randomisation(
    model: Model, patches: PatchSet, explain: Explainer, layers: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Randomise a network from its head down and compare the maps (Adebayo et al. 2018).

    A method whose maps stay as they were shows the patch and not what the network has learned.

    Parameters
    ----------
    model : Model
        Left as it is.
    patches : PatchSet
    explain : callable
        From a model and images to maps by method.
    layers : sequence of str
        Analysis layers from input to output. Everything behind each is randomised in turn, the
        last one's first (that is the head), and in the end the whole network.
    seed : int
        Seed of the random weights.

    Returns
    -------
    DataFrame
        One row per ``method``, ``kept_up_to`` (the last layer that kept its weights, or `NOTHING`)
        and ``patch``, with the ``spearman`` correlation and ``ssim`` of its map with the original
        one and its ``group``; for `OTHER_PATCH`, of the original maps of patches of two groups. NaN
        where one of the maps is constant, such as all zeros.
    """
    original = explain(model, patches.images)
    broken = replace(model.copy(), weights="randomised", origin="", sha256="")
    network = broken.network
    others = _of_another_group(patches.groups)
    rows = _rows(OTHER_PATCH, original, {name: heat[others] for name, heat in original.items()})
    for name in progress_bar([*reversed(layers), NOTHING], desc="randomise", unit="stage"):
        kept: set[str] = set()
        if name != NOTHING:
            upstream = keras.Model(network.inputs, broken.layer(name).output)
            kept = {layer.name for layer in upstream.layers}
        for place, layer in enumerate(network.layers):
            if layer.name not in kept:
                randomise(layer, 100_003 * seed + place)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeadMaps)  # reported as NaN
            rows += _rows(name, original, explain(broken, patches.images))
    return _similarity_table(rows, "kept_up_to", patches)


def stability(
    model: Model, patches: PatchSet, explain: Explainer, *, jitter: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Compare maps with those of mirrored and of slightly differently stained patches.

    Parameters
    ----------
    model, patches, explain
        As in `cascading_randomisation`.
    jitter : float
        Deviation of the factor on each stain's density.
    seed : int
        Seed of the factors.

    Returns
    -------
    DataFrame
        As in `cascading_randomisation`, with a ``change`` instead of a depth.
    """
    images = patches.images
    factors = np.random.default_rng(seed).normal(1, jitter, (len(images), 1, 1, 3))
    changes: dict[str, tuple[np.ndarray, Callable]] = {
        "left-right flip": (images[:, :, ::-1], lambda maps: maps[:, :, ::-1]),
        "up-down flip": (images[:, ::-1], lambda maps: maps[:, ::-1]),
        "stain jitter": (change_stains(images, factors), lambda maps: maps),
    }
    original = explain(model, images)
    others = _of_another_group(patches.groups)
    rows = _rows(OTHER_PATCH, original, {name: heat[others] for name, heat in original.items()})
    for change, (changed, back) in progress_bar(changes.items(), desc="stability", unit="change"):
        maps = explain(model, np.ascontiguousarray(changed))
        rows += _rows(change, original, {method: back(heat) for method, heat in maps.items()})
    return _similarity_table(rows, "change", patches)


def similarity(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Compare two maps.

    Parameters
    ----------
    one, other : array, (H, W), in [0, 1]

    Returns
    -------
    spearman, ssim : float
        Rank correlation and structural similarity; NaN if one map is constant.
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan, np.nan
    return (
        float(spearmanr(one, other, axis=None).statistic),
        float(structural_similarity(one, other, data_range=1)),
    )


def check_patches(patches: PatchSet) -> None:
    """Raise ValueError unless there are tumor patches of two groups or more, to be compared.

    Parameters
    ----------
    patches : PatchSet
    """
    _of_another_group(patches.groups[patches.labels == 1])


def _of_another_group(groups: np.ndarray) -> np.ndarray:
    """Return for each patch the index of the next one of another group."""
    count = len(groups)
    if len(np.unique(groups)) < 2:
        raise ValueError(
            f"{count} patches are of the groups {sorted(set(map(str, groups)))}; expected tumor "
            "patches of two groups or more (regions, patients), so that maps can be compared with "
            "unrelated ones."
        )
    following = (np.arange(count)[:, None] + np.arange(1, count)) % count
    return following[np.arange(count), (groups[following] != groups[:, None]).argmax(axis=1)]


def _rows(label: str, original: Maps, changed: Maps) -> list[tuple]:
    return [
        (method, label, patch, *similarity(before, after))
        for method, maps in changed.items()
        for patch, (before, after) in enumerate(zip(original[method], maps, strict=True))
    ]


def _similarity_table(rows: list[tuple], label: str, patches: PatchSet) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["method", label, "patch", "spearman", "ssim"])
    return table.assign(group=patches.groups[table["patch"]])
