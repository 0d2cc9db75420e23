"""Where heat maps point: measures against the masks of neoplastic nuclei.

Patches of one region or patient resemble each other, so all intervals are over groups.
"""

import warnings
from collections.abc import Mapping, Sequence
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
    """What a measure of heat maps is called, and what its values are."""

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
    """Tell whether the maximum of each map lies in its mask (Zhang et al. 2018).

    Parameters
    ----------
    maps : array, (N, H, W)
    masks : array, (N, H, W), bool

    Returns
    -------
    array, (N,), in [0, 1]
        Where several pixels share the maximum, the share of them inside: a constant map gets its
        mask's share of the area.
    """
    check_masks(maps, masks)
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return (highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Compute the share of each map's sum that lies in its mask.

    The energy-based pointing game of Score-CAM (Wang et al. 2020).

    Parameters
    ----------
    maps : array, (N, H, W)
    masks : array, (N, H, W), bool

    Returns
    -------
    array, (N,), in [0, 1]
        A uniform map gets the mask's share of the area; NaN for a map of zeros.
    """
    check_masks(maps, masks)
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = np.where(masks, maps, 0).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)


def average_precision(
    maps: np.ndarray, masks: np.ndarray, among: np.ndarray | None = None
) -> np.ndarray:
    """Measure each map as a detector of its mask's pixels.

    Parameters
    ----------
    maps : array, (N, H, W)
    masks : array, (N, H, W), bool
    among : array, (N, H, W), bool, optional
        Pixels that count; by default all.

    Returns
    -------
    array, (N,), in [0, 1]
        Average precision; NaN where the pixels that count are all inside, or all outside.
    """
    check_masks(maps, masks)
    among = np.ones_like(masks) if among is None else among
    found = []
    for heat, inside, counted in zip(maps, masks, among, strict=True):
        truth = inside[counted]
        mixed = truth.any() and not truth.all()
        found.append(average_precision_score(truth, heat[counted]) if mixed else np.nan)
    return np.array(found)


def annotated(patches: PatchSet, *, least: float = 0.02) -> PatchSet:
    """Keep the patches with a type for every pixel and this share of neoplastic area or more.

    Parameters
    ----------
    patches : PatchSet
    least : float
        Smallest share of neoplastic area, in [0, 1].

    Returns
    -------
    PatchSet
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
    methods: Sequence[str] = METHODS,
) -> dict[tuple[str, str, str], np.ndarray]:
    """Explain the tumor evidence of several networks.

    Parameters
    ----------
    networks : mapping of str to Model
    images : array, (N, H, W, 3), uint8
    layers : sequence of str
        Analysis layers.
    methods : sequence of str
        See `explain`.

    Returns
    -------
    dict of (network, method, layer) to array, (N, H, W), float32 in [0, 1]
        ``saliency`` is that of the layer ``input``, once per network.
    """
    maps = {}
    for network, model in networks.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeadMaps)  # counted in the table
            found = explain_layers(model, images, layers, methods=methods)
        for layer, by_method in found.items():
            for method, heat in by_method.items():
                maps[network, method, "input" if method == "saliency" else layer] = heat
    return maps


def localization_table(
    maps: Mapping[tuple[str, str, str], np.ndarray], patches: PatchSet
) -> pd.DataFrame:
    """Measure maps against the neoplastic nuclei of their patches.

    Parameters
    ----------
    maps : mapping of (network, method, layer) to array, (N, H, W)
        Network and layer are ``""`` for `baseline_maps`.
    patches : PatchSet
        From `annotated`.

    Returns
    -------
    DataFrame
        One row per map and patch: ``network``, ``method``, ``layer``, ``patch``, ``group``, one
        column per measure, see `MEASURES`, and ``dead``, 1 where the map is all zeros. Such a map
        counts as a uniform one.
    """
    neoplastic, nuclei = patches.masks == NEOPLASTIC, patches.masks > 0
    parts = []
    for key, heat in progress_bar(maps.items(), desc="measure", unit="map"):
        columns = dict(zip(("network", "method", "layer"), key, strict=True))
        columns |= {"patch": np.arange(len(patches)), "group": patches.groups}
        columns["pointing"] = pointing_game(heat, neoplastic)
        share = energy_inside(heat, neoplastic) / neoplastic.mean(axis=(1, 2))
        columns["energy_ratio"] = np.nan_to_num(share, nan=1.0)
        columns["average_precision"] = average_precision(heat, neoplastic)
        columns["among_nuclei"] = average_precision(heat, neoplastic, nuclei)
        columns["dead"] = (heat == 0).all(axis=(1, 2)).astype(int)
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def measure_networks(
    networks: Mapping[str, Model], patches: PatchSet, layers: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Measure the heat maps of several networks, and the `baseline_maps`.

    Parameters
    ----------
    networks : mapping of str to Model
    patches : PatchSet
        From `annotated`.
    layers : sequence of str
        Analysis layers.
    seed : int
        Seed of the random maps.

    Returns
    -------
    DataFrame
        See `localization_table`.
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
        From `localization_table`.
    network : str
        Whose maps are compared, with the maps of no network and with the same method and layer of
        every other network.
    methods : sequence of str
        Those that are compared.

    Returns
    -------
    DataFrame
        One row per method, layer, measure and ``baseline``: the ``mean``, the ``baseline_mean``
        and the share of its maps that are dead (``baseline_dead``), the ``difference`` and its
        interval ``low`` to ``high`` over groups. Its level is 95 % for all methods and layers of a
        measure together (Bonferroni).
    """
    keys = ["network", "method", "layer"]
    parts = dict(iter(table.set_index("patch").groupby(keys, sort=False)))
    own = {key: part for key, part in parts.items() if key[0] == network and key[1] in methods}
    rows = []
    for (_, method, layer), ours in own.items():
        for rival, theirs in parts.items():
            if rival[0] != "" and (rival[0] == network or rival[1:] != (method, layer)):
                continue
            for measure in MEASURES:
                difference = pd.DataFrame(
                    {"difference": ours[measure] - theirs[measure], "group": ours["group"]}
                )
                level = 1 - 0.05 / len(own)
                found = intervals(difference, [], ["difference"], level=level).iloc[0]
                baseline = f"{rival[0]} network" if rival[0] else f"{rival[1]} map"
                rows.append(
                    (method, layer, measure, baseline, ours[measure].mean())
                    + (theirs[measure].mean(), theirs["dead"].mean())
                    + tuple(found[["mean", "low", "high"]])
                )
    columns = ["method", "layer", "measure", "baseline", "mean", "baseline_mean", "baseline_dead"]
    return pd.DataFrame(rows, columns=[*columns, "difference", "low", "high"])


def check_masks(maps: np.ndarray, masks: np.ndarray) -> None:
    """Raise ValueError unless maps and masks fit each other."""
    if maps.shape != masks.shape or masks.dtype != bool:
        raise ValueError(
            f"maps have the shape {maps.shape}, masks {masks.shape} and {masks.dtype}; expected "
            "the same shape, (N, H, W), and bool."
        )
