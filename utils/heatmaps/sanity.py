"""Sanity checks: whether heat maps depend on the weights, and whether they are stable."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import keras
import numpy as np
import pandas as pd
from scipy.stats import entropy, spearmanr
from skimage.metrics import structural_similarity

from utils.heatmaps.maps import PLACEMENTS, DeadMaps, Maps, explain
from utils.heatmaps.placement import StretchedMaps
from utils.networks import Finetuning, Model
from utils.networks.weights import randomise
from utils.patches import PatchSet
from utils.patches.images import change_stains
from utils.progress import progress_bar

OTHER_PATCH = "another patch"  # unrelated maps
FULLY_RANDOM = "all"  # weights are random
TWO_RANDOM = "two random networks"  # maps of the same patch: how alike they are without learning
ORDERS = ("from the head down", "from the input up")  # of the randomised layers
STAIN_JITTER = 0.05  # deviation of the factor on each stain's density
BINS = (10, 200)  # least and largest number of bins of a map's histogram

SIMILARITIES = ("spearman", "ssim", "entropy", "dead")  # of two maps, from `similarity`

Explainer = Callable[[Model, np.ndarray], Maps]


def cascading_randomisation(
    model: Model, patches: PatchSet, explain: Explainer, layers: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Randomise a network step by step and compare the maps (Adebayo et al. 2018).

    A method whose maps do not change shows the patch and not what the network has learned.

    Parameters
    ----------
    model, patches : Model and PatchSet
        Network, which is copied, and patches of at least two groups.
    explain : callable
        Function from a model and images to maps by method.
    layers : sequence of str
        Analysis layers from input to output, at which the stages end.
    seed : int

    Returns
    -------
    DataFrame
        One row per ``order``, ``method``, ``stage`` and ``patch``. From the head down (`ORDERS`),
        what follows a layer is random, the last one first; from the input up, what comes up to it,
        which changes the activations too (Hedström et al. 2024); then ``all`` weights are. Columns:
        ``group``, ``spearman`` correlation and ``ssim`` with the original map, NaN where one is
        constant (``dead``); for `TWO_RANDOM` of the maps of two random networks, for `OTHER_PATCH`
        of original maps of two groups. ``entropy`` is the relative change of the entropy of the
        map's histogram (efficient MPRT, Hedström et al. 2024).
    """
    randomised = replace(model.copy(), weights="randomised", origin="", sha256="")
    network = randomised.network
    below = {
        name: keras.Model(network.inputs, randomised.layer(name).output).layers for name in layers
    }

    def maps_without(changed: Sequence[keras.Layer], seed: int) -> Maps:
        for index, layer in enumerate(network.layers):
            if layer in changed:
                randomise(layer, 100_003 * seed + index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeadMaps)  # counted as dead
            return explain(randomised, patches.images)

    original = explain(model, patches.images)
    tables = []
    for order in ORDERS:
        network.set_weights(model.network.get_weights())
        stages = layers if order == "from the input up" else [*reversed(layers)]
        for name in progress_bar(stages, desc=f"randomise {order}", unit="stage"):
            above = [layer for layer in network.layers if layer not in below[name]]
            maps = maps_without(below[name] if stages is layers else above, seed)
            tables.append(_compare(original, maps, patches, stage=name, order=order))
    random, another = (maps_without(network.layers, seed + number) for number in (0, 1))
    for order in ORDERS:
        tables += [
            _compare(original, random, patches, stage=FULLY_RANDOM, order=order),
            _compare(random, another, patches, stage=TWO_RANDOM, order=order),
            _compare_unrelated(original, patches, stage=OTHER_PATCH, order=order),
        ]
    return pd.concat(tables, ignore_index=True)


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
    DataFrame, as from `cascading_randomisation`, with the ``change`` instead of the ``stage``
    """
    images = np.asarray(patches.images)
    factors = np.random.default_rng(seed).normal(1, STAIN_JITTER, (len(images), 1, 1, 3))
    changes: dict[str, tuple[np.ndarray, Callable]] = {
        "left-right flip": (images[:, :, ::-1], lambda maps: maps[:, :, ::-1]),
        "up-down flip": (images[:, ::-1], lambda maps: maps[:, ::-1]),
        "stain jitter": (change_stains(images, factors), lambda maps: maps),
    }

    original = explain(model, images)
    tables = [_compare_unrelated(original, patches, change=OTHER_PATCH)]
    for name, (changed, back) in progress_bar(changes.items(), desc="stability", unit="change"):
        maps = explain(model, np.ascontiguousarray(changed))
        maps = {method: back(heat) for method, heat in maps.items()}
        tables.append(_compare(original, maps, patches, change=name))
    return pd.concat(tables, ignore_index=True)


def repeatability(
    finetunings: Sequence[Finetuning], patches: PatchSet, explain: Explainer
) -> pd.DataFrame:
    """Compare maps of the same patch by networks that were finetuned with other seeds.

    Parameters
    ----------
    finetunings : sequence of Finetuning
    patches : PatchSet
        A patch counts for every two networks that have not seen it.
    explain : callable
        As in `cascading_randomisation`.

    Returns
    -------
    DataFrame, as from `stability`, without rows if no patch is unseen by two networks
    """
    unseen = [np.flatnonzero(one.unseen(patches)) for one in finetunings]
    shared = {
        pair: both
        for pair in combinations(range(len(finetunings)), 2)
        if len(both := np.intersect1d(*(unseen[number] for number in pair)))
    }
    maps = {
        number: explain(finetunings[number].model, patches.select(unseen[number]).images)
        for number in sorted({number for pair in shared for number in pair})
    }
    tables = [pd.DataFrame(columns=["method", "patch", "group", *SIMILARITIES, "change"])]
    for pair, both in shared.items():
        one, other = (
            {m: heat[np.searchsorted(unseen[number], both)] for m, heat in maps[number].items()}
            for number in pair
        )
        table = _compare(one, other, patches.select(both), change="another finetuning")
        tables.append(table.assign(patch=both[table["patch"]]))
    return pd.concat(tables, ignore_index=True)


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


def similarity(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float, float]:
    """Compare two maps, ``(H, W)``.

    Returns their rank correlation and structural similarity, the relative change of the entropy
    from the first to the second, all NaN if one is constant, and whether one is (0 or 1).
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan, np.nan, np.nan, 1.0
    rank = spearmanr(one, other, axis=None).statistic
    structure = structural_similarity(one, other, data_range=1)
    before, after = _histogram_entropy(one), _histogram_entropy(other)
    return float(rank), float(structure), float((after - before) / before), 0.0


def _histogram_entropy(heat: np.ndarray) -> float:
    """Entropy of a map's values, in bins by the rule of Freedman and Diaconis."""
    bins = np.clip(len(np.histogram_bin_edges(heat, "fd")) - 1, *BINS)
    return float(entropy(np.histogram(heat, bins)[0]))


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


def _compare(original: Maps, changed: Maps, patches: PatchSet, **columns: str) -> pd.DataFrame:
    """Compare maps patch by patch, by method."""
    rows = [
        (method, patch, patches.groups[patch], *similarity(before, after))
        for method, maps in changed.items()
        for patch, (before, after) in enumerate(zip(original[method], maps, strict=True))
    ]
    return pd.DataFrame(rows, columns=["method", "patch", "group", *SIMILARITIES]).assign(**columns)


def _compare_unrelated(original: Maps, patches: PatchSet, **columns: str) -> pd.DataFrame:
    """Compare maps with those of patches of other groups."""
    others = _of_another_group(patches.groups)
    unrelated = {method: maps[others] for method, maps in original.items()}
    return _compare(original, unrelated, patches, **columns)
