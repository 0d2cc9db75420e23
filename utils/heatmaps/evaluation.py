"""How good heat maps are: measures, and their comparison with baselines."""

import warnings
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from sklearn.metrics import auc, average_precision_score

from utils.heatmaps.baselines import baseline_maps
from utils.heatmaps.maps import DeadMaps, Maps, explain, explain_layers
from utils.heatmaps.methods import METHODS, ONE_PASS
from utils.networks import Finetuning, Model, average_seeds, linear_probe, pool
from utils.networks.probe import last_features
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
COMPARED = ("gradcam", "gradcam++")  # methods of the finetuned network, with every baseline
LEAST_NEOPLASTIC = 0.02  # smallest share of a patch's area in which maps are measured


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of each map's highest pixels in its mask (Zhang et al. 2018)."""
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return (highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of each map's sum in its mask, NaN for zeros (Wang et al. 2020)."""
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = (maps * masks).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)


def average_precision(maps: np.ndarray, masks: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Measure each map as a detector of its mask, NaN where all or no pixels are inside."""
    precision = np.full(len(maps), np.nan)
    for index, (heat, inside, counted) in enumerate(zip(maps, masks, among, strict=True)):
        truth = inside[counted]
        if truth.any() and not truth.all():
            precision[index] = average_precision_score(truth, heat[counted])
    return precision


def annotated(patches: PatchSet) -> PatchSet:
    """Keep patches that are annotated completely and have 2 % of neoplastic area.

    Parameters
    ----------
    patches : PatchSet

    Returns
    -------
    PatchSet
    """
    if patches.masks is None:
        raise ValueError(f"{patches} has no masks; expected the type of nucleus of every pixel.")
    share = (patches.masks == NEOPLASTIC).mean(axis=(1, 2))
    known = (patches.masks != UNANNOTATED).all(axis=(1, 2))
    chosen = known & (share >= LEAST_NEOPLASTIC) & (share < 1)
    if not chosen.any():
        raise ValueError(f"no patch of {patches} has {LEAST_NEOPLASTIC:.0%} of neoplastic area.")
    return patches.select(chosen)


def localization_table(
    maps: Mapping[tuple[str, str, str], np.ndarray], patches: PatchSet
) -> pd.DataFrame:
    """Measure maps, by network, method and layer, as `measure_networks` does."""
    neoplastic, nuclei = patches.masks == NEOPLASTIC, patches.masks > 0
    tables = []
    for (network, method, layer), heat in progress_bar(maps.items(), desc="measure", unit="map"):
        energy = energy_inside(heat, neoplastic) / neoplastic.mean(axis=(1, 2))
        columns = {
            "network": network,
            "method": method,
            "layer": layer,
            "patch": range(len(patches)),
            "group": patches.groups,
            "pointing": pointing_game(heat, neoplastic),
            "energy_ratio": np.nan_to_num(energy, nan=1.0),
            "average_precision": average_precision(heat, neoplastic, np.ones_like(neoplastic)),
            "among_nuclei": average_precision(heat, neoplastic, nuclei),
            "dead": (heat == 0).all(axis=(1, 2)).astype(int),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def measure_networks(
    networks: Mapping[str, Model], patches: PatchSet, layers: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Measure the heat maps of several networks, and the `baseline_maps`.

    Parameters
    ----------
    networks : mapping of str to Model
    patches : PatchSet, from `annotated`
    layers : sequence of str
        Analysis layers; methods of the input have the layer ``input``.
    seed : int

    Returns
    -------
    DataFrame, one row per map and patch
        ``network`` and ``layer`` (``""`` for baseline maps), ``method``, ``patch``, ``group``, the
        `MEASURES`, and ``dead``, 1 for a map of zeros, which counts as a uniform map.
    """
    maps = {}
    for network, model in networks.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeadMaps)  # dead maps are counted in the table
            by_layer = explain_layers(model, patches.images, layers, methods=ONE_PASS)
        for layer, name in product(layers, ONE_PASS):
            source = layer if METHODS[name].of == "layer" else "input"
            maps[network, name, source] = by_layer[layer][name]
    baselines = baseline_maps(patches.images, seed=seed)
    maps |= {("", name, ""): heat for name, heat in baselines.items()}
    return localization_table(maps, patches)


def measure_finetunings(
    finetunings: Sequence[Finetuning],
    rivals: Mapping[str, Model],
    training: PatchSet,
    patches: PatchSet,
    layers: Sequence[str],
    *,
    seed: int = 0,
    once: Callable = lambda function, *arguments, **options: function(*arguments, **options),
) -> pd.DataFrame:
    """Measure the heat maps of finetuned networks, and of rivals under linear heads.

    Parameters
    ----------
    finetunings : sequence of Finetuning
        Each network is measured on the patches that it has not seen.
    rivals : mapping of str to Model
        Networks such as ``pretrained`` and ``random``, to which linear heads are fitted on the
        groups that each finetuned network was trained on; left out where these are unknown.
    training : PatchSet
        Patches of these groups, of the size of the finetuning.
    patches : PatchSet, from `annotated`
    layers, seed
        As in `measure_networks`.
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.

    Returns
    -------
    DataFrame, as from `measure_networks`, averaged over networks that measured the same patch
    """
    seen_by_any = any(one.seen(training).any() for one in finetunings)
    features = {
        name: once(last_features, model, training) for name, model in rivals.items() if seen_by_any
    }

    def measure(one: Finetuning, unseen: PatchSet) -> pd.DataFrame:
        networks, seen = {"finetuned": one.model}, one.seen(training)
        for name, x in features.items():
            networks[name] = linear_probe(rivals[name], training.select(seen), x[seen])
        return once(measure_networks, networks, unseen, layers, seed=seed)

    return average_seeds(pool(finetunings, patches, measure), [*MEASURES, "dead"])


def compare_with_baselines(table: pd.DataFrame) -> pd.DataFrame:
    """Compare Grad-CAM and Grad-CAM++ of the finetuned network with baselines, paired by patch.

    Parameters
    ----------
    table : DataFrame, from `measure_networks`

    Returns
    -------
    DataFrame
        One row per method, layer, measure and ``baseline`` (a baseline map, or the same map of
        another network): ``mean``, ``baseline_mean``, the share of dead baseline maps
        (``baseline_dead``), and the ``difference`` with its interval ``low`` to ``high`` over
        groups, of 95 % for all maps of a measure together (Bonferroni).
    """
    keys = ["network", "method", "layer"]
    by_map = dict(iter(table.set_index("patch").groupby(keys, sort=False)))
    compared = [key for key in by_map if key[0] == "finetuned" and key[1] in COMPARED]
    level = 1 - 0.05 / max(1, len(compared))
    rows = []
    for key, (rival, theirs) in product(compared, by_map.items()):
        if rival[0] != "" and (rival[0] == "finetuned" or rival[1:] != key[1:]):
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


def insertion_deletion(
    model: Model, patches: PatchSet, maps: Maps | None = None, *, steps: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Insert and delete pixels in the order of each map (Petsiuk et al. 2018).

    A patch's mean colour stands for no pixel. The curves say little where a patch without nuclei
    has the probability of the whole patch.

    Parameters
    ----------
    model, patches : Model and PatchSet
    maps : mapping of str to array, (N, H, W), optional
        Heat maps by method; by default those of `ONE_PASS`, and `baseline_maps`.
    steps, seed : int
        Number of equal shares of the area, and seed of the order of pixels with equal values.

    Returns
    -------
    DataFrame
        One row per ``method``, ``curve`` (insertion, deletion), ``patch`` and ``share`` of the
        area, with the ``probability`` of tumor, and the patch's ``group``.
    """
    images = np.asarray(patches.images)
    if maps is None:
        maps = explain(model, images, methods=ONE_PASS) | baseline_maps(images, seed=seed)
        del maps["uniform"]  # has no order
    empty = np.round(images.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
    shares = np.linspace(0, 1, steps + 1)
    ties = np.random.default_rng(seed).random((len(images), images[0, ..., 0].size))
    predicted = []
    for heat in progress_bar(maps.values(), desc="insert and delete", unit="map"):
        order = np.lexsort((ties, -heat.reshape(ties.shape)), axis=1)
        rank = np.argsort(order, axis=1).reshape(*heat.shape, 1) / heat[0].size
        for inside, outside in ((images, empty), (empty, images)):
            mixtures = [np.where(rank < share, inside, outside) for share in shares]
            predicted.append(model.predict(np.concatenate(mixtures)))
    levels = [maps, ["insertion", "deletion"], shares, range(len(images))]
    index = pd.MultiIndex.from_product(levels, names=["method", "curve", "share", "patch"])
    table = index.to_frame(index=False).assign(probability=np.concatenate(predicted))
    return table.assign(group=patches.groups[table["patch"]])


def curve_areas(curves: pd.DataFrame) -> pd.DataFrame:
    """Compute the area under each curve of `insertion_deletion`.

    Parameters
    ----------
    curves : DataFrame

    Returns
    -------
    DataFrame, one row per patch and method
        ``insertion`` (large for a good map), ``deletion`` (small) and their ``difference``.
    """
    by_curve = curves.groupby(["method", "patch", "group", "curve"], sort=False)
    areas = by_curve[["share", "probability"]].apply(
        lambda curve: auc(curve["share"], curve["probability"])
    )
    areas = areas.unstack("curve").reset_index()
    return areas.assign(difference=areas["insertion"] - areas["deletion"])
