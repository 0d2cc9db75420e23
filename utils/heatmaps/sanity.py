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

OTHER_PATCH = "another patch"  # baseline of the similarity: unrelated maps
FULLY_RANDOM = "none"  # no weights are kept
Explainer = Callable[[Model, np.ndarray], Maps]


def cascading_randomisation(
    model: Model, patches: PatchSet, explain: Explainer, layers: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Randomise a network from its head down and compare the maps (Adebayo et al. 2018).

    A method whose maps do not change shows the patch and not what the network has learned.

    Parameters
    ----------
    model, patches : Model and PatchSet
        Network, which is copied, and patches of at least two groups.
    explain : callable
        Function from a model and images to maps by method.
    layers : sequence of str
        Analysis layers from input to output; what follows each is randomised, the last one first.
    seed : int
        Seed of the random weights.

    Returns
    -------
    DataFrame
        One row per ``method``, ``kept_up_to`` (the last layer that kept its weights, or ``none``)
        and ``patch``, with its ``group`` and the ``spearman`` correlation and ``ssim`` of its map
        with the original one, or for `OTHER_PATCH` of the original maps of patches of two groups;
        NaN where one of the maps is constant.
    """
    original = explain(model, patches.images)
    randomised = replace(model.copy(), weights="randomised", origin="", sha256="")
    network = randomised.network
    rows = _unrelated(original, patches)
    for name in progress_bar([*reversed(layers), FULLY_RANDOM], desc="randomise", unit="stage"):
        kept: set[str] = set()
        if name != FULLY_RANDOM:
            upstream = keras.Model(network.inputs, randomised.layer(name).output)
            kept = {layer.name for layer in upstream.layers}
        for index, layer in enumerate(network.layers):
            if layer.name not in kept:
                randomise(layer, 100_003 * seed + index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeadMaps)  # reported as NaN
            rows += _rows(name, original, explain(randomised, patches.images))
    return _similarity_table(rows, "kept_up_to", patches)


def stability(
    model: Model, patches: PatchSet, explain: Explainer, *, jitter: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Compare maps with those of mirrored patches and of patches with slightly changed stains.

    Parameters
    ----------
    model, patches, explain
        As in `cascading_randomisation`.
    jitter, seed : float and int
        Deviation and seed of the factor on each stain's density.

    Returns
    -------
    DataFrame
        As from `cascading_randomisation`, with the ``change`` instead of ``kept_up_to``.
    """
    images = patches.images
    factors = np.random.default_rng(seed).normal(1, jitter, (len(images), 1, 1, 3))
    changes: dict[str, tuple[np.ndarray, Callable]] = {
        "left-right flip": (images[:, :, ::-1], lambda maps: maps[:, :, ::-1]),
        "up-down flip": (images[:, ::-1], lambda maps: maps[:, ::-1]),
        "stain jitter": (change_stains(images, factors), lambda maps: maps),
    }
    original = explain(model, images)
    rows = _unrelated(original, patches)
    for change, (changed, back) in progress_bar(changes.items(), desc="stability", unit="change"):
        maps = explain(model, np.ascontiguousarray(changed))
        rows += _rows(change, original, {method: back(heat) for method, heat in maps.items()})
    return _similarity_table(rows, "change", patches)


def similarity(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return rank correlation and structural similarity of two maps, NaN if one is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan, np.nan
    rank = spearmanr(one, other, axis=None).statistic
    return float(rank), float(structural_similarity(one, other, data_range=1))


def check_patches(patches: PatchSet) -> None:
    """Raise ValueError unless there are tumor patches of at least two groups.

    Parameters
    ----------
    patches : PatchSet
        Patches whose maps will be compared.
    """
    _of_another_group(patches.groups[patches.labels == 1])


def _of_another_group(groups: np.ndarray) -> np.ndarray:
    """Return for each patch the index of the next one of another group."""
    count = len(groups)
    if len(np.unique(groups)) < 2:
        raise ValueError(
            f"{count} patches are of the groups {sorted(set(map(str, groups)))}; expected tumor "
            "patches of at least two groups (regions, patients), so that maps can be compared with "
            "unrelated ones."
        )
    following = (np.arange(count)[:, None] + np.arange(1, count)) % count
    return following[np.arange(count), (groups[following] != groups[:, None]).argmax(axis=1)]


def _unrelated(original: Maps, patches: PatchSet) -> list[tuple]:
    others = _of_another_group(patches.groups)
    return _rows(OTHER_PATCH, original, {name: maps[others] for name, maps in original.items()})


def _rows(label: str, original: Maps, changed: Maps) -> list[tuple]:
    return [
        (method, label, patch, *similarity(before, after))
        for method, maps in changed.items()
        for patch, (before, after) in enumerate(zip(original[method], maps, strict=True))
    ]


def _similarity_table(rows: list[tuple], label: str, patches: PatchSet) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["method", label, "patch", "spearman", "ssim"])
    return table.assign(group=patches.groups[table["patch"]])
