"""Heat maps of finetuned networks and of their rivals, measured alike, and the differences."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from utils.heatmaps.baselines import baseline_maps
from utils.heatmaps.maps import DeadMaps, explain_layers
from utils.heatmaps.methods import METHODS, ONE_PASS
from utils.heatmaps.pointing import (
    MEASURES,
    auroc_by_group,
    measure_pixels,
    score_nuclei,
    whole_nuclei,
)
from utils.networks import Finetuning, Model, average_seeds, linear_probe, pool
from utils.networks.probe import last_features
from utils.once import Once, directly
from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.patches.patchset import NUCLEUS_TYPES, UNTYPED
from utils.progress import progress_bar
from utils.statistics import intervals

MAP = ["network", "method", "layer"]
IOUS = [f"iou_{name}" for name in NUCLEUS_TYPES[1:]]
OF_PATCH = [*MEASURES, *IOUS, "dead"]
OF_GROUP = ["auroc", "auroc_same_size", "auroc_ring"]
COMPARED = ("gradcam", "gradcam++")  # methods of the finetuned network, with every rival


class Measured(NamedTuple):
    """Measures of maps, with ``network`` and ``layer`` (``""`` for baselines) and ``method``."""

    # One row per map and patch: `group`, the `MEASURES`, intersections over union by type, and
    # `dead`, 1 for a map without any evidence, which counts as a uniform map.
    by_patch: pd.DataFrame
    by_group: pd.DataFrame  # one row per map and group: `auroc_by_group` of maps with their signs
    agreement: pd.DataFrame  # `map_agreement` of each network at the last layer


# Orders of nuclei that need no map: neoplastic ones are larger, and paler in haematoxylin.
ORDERS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "nuclear size": lambda nuclei: nuclei["area"],
    "pale nuclei": lambda nuclei: -nuclei["haematoxylin"],
}


def annotated(patches: PatchSet) -> PatchSet:
    """Keep the patches whose nuclei are annotated completely, with their types.

    Parameters
    ----------
    patches : PatchSet

    Returns
    -------
    PatchSet
    """
    if patches.masks is None:
        raise ValueError(f"{patches} has no masks; expected the type of nucleus of every pixel.")
    known = ~np.isin(patches.masks, (UNANNOTATED, UNTYPED)).any(axis=(1, 2))
    if not (patches.masks[known] == NEOPLASTIC).any():
        raise ValueError(
            f"no patch of {patches} has neoplastic nuclei and is annotated completely."
        )
    return patches.select(known)


def signed_maps(
    model: Model, images: np.ndarray, layers: Sequence[str]
) -> dict[tuple[str, str], np.ndarray]:
    """Explain tumor by all methods of one pass, unscaled, with signs where they have any.

    Returns maps, ``(N, H, W)``, by method and layer; methods of the input have the layer ``input``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadMaps)  # dead maps are counted in the tables
        options = {"methods": ONE_PASS, "modifier": "signed", "scaled": False}
        by_layer = explain_layers(model, images, layers, **options)
    return {
        (name, layer if METHODS[name].of == "layer" else "input"): by_layer[layer][name]
        for name, layer in product(ONE_PASS, layers)
    }


def map_agreement(maps: Mapping[str, np.ndarray], patches: PatchSet) -> pd.DataFrame:
    """Correlate the ranks of every two maps of a patch; NaN where one is constant."""
    ranks = {}
    for method, heat in maps.items():
        centred = rankdata(heat.reshape(len(heat), -1), axis=1) - (heat[0].size + 1) / 2
        norm = np.linalg.norm(centred, axis=1, keepdims=True)
        ranks[method] = np.divide(centred, norm, where=norm > 0, out=np.full_like(centred, np.nan))
    of_patch = {"patch": range(len(patches)), "group": patches.groups}
    tables = [
        pd.DataFrame(
            {"method": method, "other": other, **of_patch, "spearman": (a * b).sum(axis=1)}
        )
        for (method, a), (other, b) in combinations(ranks.items(), 2)
    ]
    return pd.concat(tables, ignore_index=True)


def measure_networks(
    networks: Mapping[str, Model], patches: PatchSet, layers: Sequence[str], *, seed: int = 0
) -> Measured:
    """Measure the heat maps of several networks, `baseline_maps`, and orders of nuclei.

    Parameters
    ----------
    networks : mapping of str to Model
    patches : PatchSet, from `annotated`
        Patches that do not overlap.
    layers : sequence of str
        Analysis layers; methods of the input have the layer ``input``.
    seed : int

    Returns
    -------
    Measured
    """
    nuclei = whole_nuclei(patches)
    baselines = baseline_maps(patches.images, seed=seed)
    by_map = {("", name, ""): heat for name, heat in baselines.items()}
    tables: dict[str, list] = {name: [] for name in Measured._fields}
    for network, model in [("", None), *networks.items()]:
        if model is not None:
            signed = signed_maps(model, patches.images, layers)
            by_map = {(network, *key): heat for key, heat in signed.items()}
            last = {key[1]: heat for key, heat in by_map.items() if key[2] in (layers[-1], "input")}
            tables["agreement"].append(map_agreement(last, patches).assign(network=network))
        for key, heat in progress_bar(by_map.items(), desc=f"measure {network}", unit="map"):
            columns = dict(zip(MAP, key, strict=True))
            tables["by_patch"].append(measure_pixels(heat, patches).assign(**columns))
            scores = score_nuclei(heat, patches, nuclei)
            tables["by_group"].append(auroc_by_group(scores).assign(**columns))
    for name, order in ORDERS.items():
        scores = nuclei.assign(inside=order(nuclei), around=np.nan)
        columns = dict(zip(MAP, ("", name, ""), strict=True))
        tables["by_group"].append(auroc_by_group(scores).assign(**columns))
    return Measured(**{name: pd.concat(rows, ignore_index=True) for name, rows in tables.items()})


def measure_finetunings(
    finetunings: Sequence[Finetuning],
    rivals: Mapping[str, Model],
    training: PatchSet,
    patches: PatchSet,
    layers: Sequence[str],
    *,
    seed: int = 0,
    once: Once = directly,
) -> Measured:
    """Measure the heat maps of finetuned networks, and of rivals under linear heads.

    Parameters
    ----------
    finetunings : sequence of Finetuning
        Each network is measured on the patches that it has not seen.
    rivals : mapping of str to Model
        Networks such as ``pretrained`` and ``shuffled``, to which linear heads are fitted on the
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
    Measured
        Averaged over networks that measured the same patch or group.
    """
    seen_by_any = np.any([one.seen(training) for one in finetunings], axis=0)
    training = training.select(seen_by_any)
    features = {
        name: once(last_features, model, training)
        for name, model in rivals.items()
        if len(training)
    }

    def measure(one: Finetuning, unseen: PatchSet) -> Measured:
        networks, seen = {"finetuned": one.model}, one.seen(training)
        for name, x in features.items():
            networks[name] = linear_probe(rivals[name], training.select(seen), x[seen])
        return once(measure_networks, networks, unseen, layers, seed=seed)

    pooled = pool(finetunings, patches, measure)
    values = OF_PATCH, OF_GROUP, ["spearman"]
    return Measured(*(average_seeds(t, v) for t, v in zip(pooled, values, strict=True)))


def differences_from_rivals(by_group: pd.DataFrame) -> pd.DataFrame:
    """Subtract from the AUROC of the finetuned network's maps that of their rivals, by group.

    Parameters
    ----------
    by_group : DataFrame, from `measure_networks`

    Returns
    -------
    DataFrame
        One row per ``method`` and ``layer`` of the finetuned network, ``rival`` (the same map of
        another network, a baseline map, or an order of nuclei) and ``group``: ``auroc``,
        ``rival_auroc``, and ``difference``.
    """
    ours = by_group[(by_group["network"] == "finetuned") & by_group["method"].isin(COMPARED)]
    same_map = ours.merge(
        by_group[~by_group["network"].isin(["", "finetuned"])],
        on=["method", "layer", "group"],
        suffixes=("", "_of_rival"),
    )
    same_map["rival"] = same_map["network_of_rival"] + " network"
    no_network = ours.merge(
        by_group[by_group["network"] == ""], on="group", suffixes=("", "_of_rival")
    )
    no_network["rival"] = no_network["method_of_rival"]
    table = pd.concat([same_map, no_network], ignore_index=True)
    table = table.rename(columns={"auroc_of_rival": "rival_auroc"})
    table["difference"] = table["auroc"] - table["rival_auroc"]
    columns = ["method", "layer", "rival", "group", "auroc", "rival_auroc", "difference"]
    return table[columns]


def compare_with_rivals(differences: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Average the differences of `differences_from_rivals` over groups.

    Parameters
    ----------
    differences : DataFrame
    level : float
        Level of the intervals.

    Returns
    -------
    DataFrame
        One row per method, layer and rival: the mean ``auroc`` and ``rival_auroc``, ``difference``
        with its interval ``low`` to ``high``, and numbers of ``groups``, and of those
        ``won`` and ``lost``.
    """
    keys = ["method", "layer", "rival"]
    means = differences.groupby(keys, sort=False)[["auroc", "rival_auroc"]].mean()
    signs = np.sign(differences["difference"]).groupby([differences[key] for key in keys])
    means["won"], means["lost"] = (signs.agg(lambda x, s=s: (x == s).sum()) for s in (1, -1))
    between = intervals(differences, keys, ["difference"], level=level).set_index(keys)
    between = between.rename(columns={"mean": "difference"})
    table = means.join(between[["difference", "low", "high", "groups"]]).reset_index()
    columns = [*keys, "auroc", "rival_auroc", "difference", "low", "high", "groups", "won", "lost"]
    return table[columns]
