"""Sanity checks: whether heat maps depend on the weights, and whether they are stable."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import keras
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from utils.heatmaps.maps import PLACEMENTS, DeadMaps, Maps, explain
from utils.heatmaps.placement import StretchedMaps
from utils.networks import Model
from utils.networks.weights import randomise
from utils.patches import PatchSet
from utils.patches.images import change_stains
from utils.progress import progress_bar

OTHER_PATCH = "another patch"  # baseline of the similarity: unrelated maps
FULLY_RANDOM = "none"  # no weights are kept
STAIN_JITTER = 0.05  # deviation of the factor on each stain's density

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

    Returns
    -------
    DataFrame
        One row per ``method``, ``kept_up_to`` (the last layer that kept its weights, or ``none``)
        and ``patch``, with its ``group`` and the ``spearman`` correlation and ``ssim`` of its map
        with the original one, or for `OTHER_PATCH` of original maps of two groups; NaN where a map
        is constant.
    """
    randomised = replace(model.copy(), weights="randomised", origin="", sha256="")
    network = randomised.network

    def changed_maps() -> Iterator[tuple[str, Maps]]:
        for name in progress_bar([*reversed(layers), FULLY_RANDOM], desc="randomise", unit="stage"):
            kept = []
            if name != FULLY_RANDOM:
                kept = keras.Model(network.inputs, randomised.layer(name).output).layers
            for index, layer in enumerate(network.layers):
                if layer not in kept:
                    randomise(layer, 100_003 * seed + index)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeadMaps)  # reported as NaN
                maps = explain(randomised, patches.images)
            yield name, maps

    original = explain(model, patches.images)
    return _similarity_table(original, changed_maps(), "kept_up_to", patches)


def stability(
    model: Model, patches: PatchSet, explain: Explainer, *, seed: int = 0
) -> pd.DataFrame:
    """Compare maps with those of mirrored patches and of patches with slightly changed stains.

    Parameters
    ----------
    model, patches, explain, seed
        As in `cascading_randomisation`.

    Returns
    -------
    DataFrame, as from `cascading_randomisation`, with the ``change`` instead of ``kept_up_to``
    """
    images = np.asarray(patches.images)
    factors = np.random.default_rng(seed).normal(1, STAIN_JITTER, (len(images), 1, 1, 3))
    changes: dict[str, tuple[np.ndarray, Callable]] = {
        "left-right flip": (images[:, :, ::-1], lambda maps: maps[:, :, ::-1]),
        "up-down flip": (images[:, ::-1], lambda maps: maps[:, ::-1]),
        "stain jitter": (change_stains(images, factors), lambda maps: maps),
    }

    def changed_maps() -> Iterator[tuple[str, Maps]]:
        for name, (changed, back) in progress_bar(changes.items(), desc="stability", unit="change"):
            maps = explain(model, np.ascontiguousarray(changed))
            yield name, {method: back(heat) for method, heat in maps.items()}

    return _similarity_table(explain(model, images), changed_maps(), "change", patches)


def stability_by_placement(model: Model, patches: PatchSet, *, seed: int = 0) -> pd.DataFrame:
    """Compare how stable Grad-CAM and Grad-CAM++ are where they are stretched, and where placed.

    Parameters
    ----------
    model, patches, seed
        As in `stability`.

    Returns
    -------
    DataFrame, as from `stability`, with the ``placement``
    """
    tables = []
    for placement in PLACEMENTS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StretchedMaps)  # it is what is compared
            by_placement = partial(explain, placement=placement)
            table = stability(model, patches, by_placement, seed=seed)
        tables.append(table.assign(placement=placement))
    return pd.concat(tables, ignore_index=True)


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
    """
    _of_another_group(patches.groups[patches.labels == 1])


def _of_another_group(groups: np.ndarray) -> np.ndarray:
    """Return for each patch the index of the next one of another group."""
    count, names = len(groups), np.unique(groups)
    if len(names) < 2:
        raise ValueError(
            f"{count} patches are of the groups {names}; expected tumor patches of at least two "
            "groups (regions, patients), to compare maps with unrelated ones."
        )
    following = (np.arange(count)[:, None] + np.arange(1, count)) % count
    return following[np.arange(count), (groups[following] != groups[:, None]).argmax(axis=1)]


def _similarity_table(
    original: Maps, changed: Iterable[tuple[str, Maps]], column: str, patches: PatchSet
) -> pd.DataFrame:
    """Compare maps with unrelated ones, and with changed ones by the name of the change."""
    others = _of_another_group(patches.groups)
    unrelated = {method: maps[others] for method, maps in original.items()}
    rows = [
        (method, name, patch, *similarity(before, after), patches.groups[patch])
        for name, by_method in chain([(OTHER_PATCH, unrelated)], changed)
        for method, maps in by_method.items()
        for patch, (before, after) in enumerate(zip(original[method], maps, strict=True))
    ]
    return pd.DataFrame(rows, columns=["method", column, "patch", "spearman", "ssim", "group"])
