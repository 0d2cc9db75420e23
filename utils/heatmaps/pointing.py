"""Where heat maps point: measures against the masks of neoplastic nuclei."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

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


class Measure(NamedTuple):
    """Title of a measure of heat maps, and unit of its values."""

    title: str
    unit: str


MEASURES = {
    "pointing": Measure("pointing game: maximum in a neoplastic nucleus", "share of patches"),
    "energy_ratio": Measure(
        "energy in neoplastic nuclei, by their area", "ratio; 1 is no better than area"
    ),
    "average_precision": Measure("average precision for neoplastic nuclei", "average precision"),
    "among_nuclei": Measure("average precision among all nuclei", "average precision"),
}


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Tell whether the maximum of each map lies in its mask (Zhang et al. 2018), ``(N,)``.

    Where several pixels share the maximum, the share of them inside: a constant map gets the mask's
    share of the area.
    """
    check_masks(maps, masks)
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return (highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Compute the share of each map's sum in its mask, NaN for zeros (Wang et al. 2020), ``(N,)``.

    A uniform map gets the mask's share of the area.
    """
    check_masks(maps, masks)
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = np.where(masks, maps, 0).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)


def average_precision(
    maps: np.ndarray, masks: np.ndarray, among: np.ndarray | None = None
) -> np.ndarray:
    """Measure each map as a detector of its mask's pixels, among all or some pixels, ``(N,)``.

    NaN where the pixels that count are all inside, or all outside.
    """
    check_masks(maps, masks)
    among = np.ones_like(masks) if among is None else among
    precision = []
    for heat, inside, counted in zip(maps, masks, among, strict=True):
        truth = inside[counted]
        mixed = truth.any() and not truth.all()
        precision.append(average_precision_score(truth, heat[counted]) if mixed else np.nan)
    return np.array(precision)


def annotated(patches: PatchSet, *, least: float = 0.02) -> PatchSet:
    """Keep patches that are annotated completely and have enough neoplastic area.

    Parameters
    ----------
    patches : PatchSet
        Patches with `masks`.
    least : float
        Smallest share of neoplastic area, in [0, 1].

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


def network_maps(
    networks: Mapping[str, Model],
    images: np.ndarray,
    layers: Sequence[str],
    *,
    methods: Sequence[str] | None = None,
) -> dict[tuple[str, str, str], np.ndarray]:
    """Explain the tumor evidence of several networks, by network, method and layer.

    Methods of the input have the layer ``input``, once per network.
    """
    methods = list(METHODS) if methods is None else methods
    maps = {}
    for network, model in networks.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeadMaps)  # dead maps are counted in the table
            by_layer = explain_layers(model, images, layers, methods=methods)
        for layer, by_method in by_layer.items():
            for method, heat in by_method.items():
                source = layer if METHODS[method].of == "layer" else "input"
                maps[network, method, source] = heat
    return maps


def localization_table(
    maps: Mapping[tuple[str, str, str], np.ndarray], patches: PatchSet
) -> pd.DataFrame:
    """Measure maps, by network, method and layer, against the neoplastic nuclei of their patches.

    Network and layer are ``""`` for baseline maps. For the table see `measure_networks`.
    """
    neoplastic, nuclei = patches.masks == NEOPLASTIC, patches.masks > 0
    tables = []
    for key, heat in progress_bar(maps.items(), desc="measure", unit="map"):
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
    networks : mapping of str to Model
        Networks by name.
    patches : PatchSet
        Patches from `annotated`.
    layers : sequence of str
        Analysis layers.
    seed : int
        Seed of the random maps.

    Returns
    -------
    DataFrame
        One row per map and patch: ``network``, ``method``, ``layer`` (network and layer are ``""``
        for baseline maps), ``patch``, ``group``, one column per measure, see `MEASURES`, and
        ``dead``, 1 where the map is all zeros. It counts as a uniform map.
    """
    maps = network_maps(networks, patches.images, layers)
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
    network : str
        Network whose maps are compared: with baseline maps, and with the same method and layer of
        every other network.
    methods : sequence of str
        Methods that are compared.

    Returns
    -------
    DataFrame
        One row per method, layer, measure and ``baseline``: the ``mean``, the ``baseline_mean``
        and the share of its maps that are dead (``baseline_dead``), the ``difference`` and its
        interval ``low`` to ``high`` over groups, with a level of 95 % for all methods and layers of
        a measure together (Bonferroni).
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


def check_masks(maps: np.ndarray, masks: np.ndarray) -> None:
    """Raise ValueError unless maps and masks fit each other."""
    if maps.shape != masks.shape or masks.dtype != bool:
        raise ValueError(
            f"maps have the shape {maps.shape}, masks {masks.shape} and {masks.dtype}; expected "
            "the same shape, (N, H, W), and bool."
        )
