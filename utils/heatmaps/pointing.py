"""Where heat maps point: measures against the masks of neoplastic nuclei."""

import warnings
from collections import namedtuple
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from utils.heatmaps.baselines import baseline_maps
from utils.heatmaps.maps import DeadMaps, explain_layers
from utils.heatmaps.methods import METHODS
from utils.networks import Model
from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.progress import progress_bar
from utils.statistics import intervals

Measure = namedtuple("Measure", ["title", "unit"])
MEASURES = {
    "pointing": Measure("pointing game: maximum in a neoplastic nucleus", "share of patches"),
    "energy_ratio": Measure(
        "energy in neoplastic nuclei, by their area", "ratio; 1 is no better than area"
    ),
    "average_precision": Measure("average precision for neoplastic nuclei", "average precision"),
    "among_nuclei": Measure("average precision among all nuclei", "average precision"),
}


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of each map's highest pixels in its mask (Zhang et al. 2018)."""
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return (highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of each map's sum in its mask, NaN for zeros (Wang et al. 2020)."""
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = np.where(masks, maps, 0).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)


def average_precision(
    maps: np.ndarray, masks: np.ndarray, among: np.ndarray | None = None
) -> np.ndarray:
    """Measure each map as a detector of its mask, NaN where all or no pixels are inside."""
    among = np.ones_like(masks) if among is None else among
    precision = np.full(len(maps), np.nan)
    for index, (heat, inside, counted) in enumerate(zip(maps, masks, among, strict=True)):
        truth = inside[counted]
        if truth.any() and not truth.all():
            precision[index] = average_precision_score(truth, heat[counted])
    return precision


def annotated(patches: PatchSet, *, least: float = 0.02) -> PatchSet:
    """Keep patches that are annotated completely and have enough neoplastic area.

    Parameters
    ----------
    patches, least : PatchSet and float
        Patches with `masks`, and the smallest share of neoplastic area, in [0, 1].

    Returns
    -------
    PatchSet
        The patches that are kept.
    """
    if patches.masks is None:
        raise ValueError(f"{patches} has no masks; expected the type of nucleus of every pixel.")
    share = (patches.masks == NEOPLASTIC).mean(axis=(1, 2))
    known = (patches.masks != UNANNOTATED).all(axis=(1, 2))
    chosen = known & (share >= least) & (share < 1)
    if not chosen.any():
        raise ValueError(f"no patch of {patches} has masks with {least:.0%} of neoplastic area.")
    return patches.select(chosen)


def localization_table(
    maps: Mapping[tuple[str, str, str], np.ndarray], patches: PatchSet
) -> pd.DataFrame:
    """Measure maps, by network, method and layer, as `measure_networks` does."""
    neoplastic, nuclei = patches.masks == NEOPLASTIC, patches.masks > 0
    tables = []
    for key, heat in progress_bar(maps.items(), desc="measure", unit="map"):
        check_maps(heat, patches)
        columns = dict(zip(("network", "method", "layer"), key, strict=True))
        columns |= {"patch": np.arange(len(patches)), "group": patches.groups}
        columns["pointing"] = pointing_game(heat, neoplastic)
        share = energy_inside(heat, neoplastic) / neoplastic.mean(axis=(1, 2))
        columns["energy_ratio"] = np.nan_to_num(share, nan=1.0)
        columns["average_precision"] = average_precision(heat, neoplastic)
        columns["among_nuclei"] = average_precision(heat, neoplastic, nuclei)
        columns["dead"] = (heat == 0).all(axis=(1, 2)).astype(int)
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def measure_networks(
    networks: Mapping[str, Model], patches: PatchSet, layers: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Measure the heat maps of several networks, and the `baseline_maps`.

    Parameters
    ----------
    networks, patches : mapping of str to Model, and PatchSet
        Networks by name, and patches from `annotated`.
    layers : sequence of str
        Analysis layers; methods of the input have the layer ``input``.
    seed : int
        Seed of the random maps.

    Returns
    -------
    DataFrame
        One row per map and patch: ``network`` and ``layer`` (``""`` for baseline maps), ``method``,
        ``patch``, ``group``, the `MEASURES`, and ``dead``, 1 for a map of zeros, which counts as a
        uniform map.
    """
    maps = {}
    for network, model in networks.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeadMaps)  # dead maps are counted in the table
            by_layer = explain_layers(model, patches.images, layers, methods=list(METHODS))
        for layer, (name, method) in product(layers, METHODS.items()):
            source = layer if method.of == "layer" else "input"
            maps[network, name, source] = by_layer[layer][name]
    baselines = baseline_maps(patches.images, seed=seed)
    maps |= {("", name, ""): heat for name, heat in baselines.items()}
    return localization_table(maps, patches)


def compare_with_baselines(
    table: pd.DataFrame,
    *,
    network: str = "finetuned",
    methods: Sequence[str] = ("gradcam", "gradcam++"),
) -> pd.DataFrame:
    """Compare methods with every baseline, paired by patch.

    Parameters
    ----------
    table : DataFrame
        Table from `measure_networks`.
    network, methods : str and sequence of str
        Maps that are compared, with baseline maps and with the same map of every other network.

    Returns
    -------
    DataFrame
        One row per method, layer, measure and ``baseline``: ``mean``, ``baseline_mean``, the share
        of dead baseline maps (``baseline_dead``), and the ``difference`` with its interval ``low``
        to ``high`` over groups, of 95 % for all maps of a measure together (Bonferroni).
    """
    keys = ["network", "method", "layer"]
    by_map = dict(iter(table.set_index("patch").groupby(keys, sort=False)))
    compared = [key for key in by_map if key[0] == network and key[1] in methods]
    level = 1 - 0.05 / max(1, len(compared))
    rows = []
    for key, (rival, theirs) in product(compared, by_map.items()):
        if rival[0] != "" and (rival[0] == network or rival[1:] != key[1:]):
            continue
        ours, baseline = by_map[key], f"{rival[0]} network" if rival[0] else f"{rival[1]} map"
        for measure in MEASURES:
            difference = ours[measure] - theirs[measure]
            paired = pd.DataFrame({"difference": difference, "group": ours["group"]})
            interval = intervals(paired, [], ["difference"], level=level).iloc[0]
            means = ours[measure].mean(), theirs[measure].mean(), theirs["dead"].mean()
            rows.append((*key[1:], measure, baseline, *means, *interval[["mean", "low", "high"]]))
    columns = ["method", "layer", "measure", "baseline", "mean", "baseline_mean", "baseline_dead"]
    return pd.DataFrame(rows, columns=[*columns, "difference", "low", "high"])


def check_maps(maps: np.ndarray, patches: PatchSet) -> None:
    """Raise ValueError unless there is one map per patch, of the patch's size."""
    if maps.shape != patches.images.shape[:3]:
        shapes = f"maps have the shape {maps.shape}, patches {patches.images.shape[:3]}"
        raise ValueError(f"{shapes}; expected the same shape, (N, H, W).")
