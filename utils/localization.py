"""Are heat maps right? Where they point, what they change, whether they depend on training.

Patches of one block or patient resemble each other, so all intervals are over groups.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence

import cv2
import keras
import numpy as np
import pandas as pd
from scipy.stats import bootstrap, spearmanr
from skimage.color import hed2rgb, rgb2hed
from skimage.metrics import structural_similarity
from sklearn.metrics import auc, average_precision_score

from utils.gradcam import METHODS, DeadMaps, explain_layers
from utils.models import Model
from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.progress import progress_bar

MEASURES = {
    "pointing": "pointing game: maximum in a neoplastic nucleus",
    "energy_ratio": "energy in neoplastic nuclei, by their area",
    "average_precision": "average precision for neoplastic nuclei",
    "among_nuclei": "average precision among all nuclei",
}
OTHER_PATCH = "another patch"  # the baseline of similarity: maps that have nothing in common
NOTHING = "none"  # of the weights is kept
Maps = Mapping[str, np.ndarray]
Explainer = Callable[[Model, np.ndarray], Maps]

# --- Where a map points -----------------------------------------------------------------------


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
    _check_masks(maps, masks)
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return (highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of each map's sum that lies in its mask, ``(N,)``; NaN for all zeros.

    The energy-based pointing game of Score-CAM (Wang et al. 2020). A uniform map gets the mask's
    share of the area.
    """
    _check_masks(maps, masks)
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = np.where(masks, maps, 0).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)


def average_precision(
    maps: np.ndarray, masks: np.ndarray, among: np.ndarray | None = None
) -> np.ndarray:
    """Return the average precision of each map as a detector of its mask's pixels, ``(N,)``.

    Parameters
    ----------
    maps : array, (N, H, W)
    masks : array, (N, H, W), bool
    among : array, (N, H, W), bool, optional
        Pixels that count; by default all. NaN where these are all inside, or all outside.
    """
    _check_masks(maps, masks)
    among = np.ones_like(masks) if among is None else among
    found = []
    for heat, inside, counted in zip(maps, masks, among, strict=True):
        truth = inside[counted]
        mixed = truth.any() and not truth.all()
        found.append(average_precision_score(truth, heat[counted]) if mixed else np.nan)
    return np.array(found)


def annotated(patches: PatchSet, *, least: float = 0.02) -> PatchSet:
    """Keep the patches with a type for every pixel and this share of neoplastic area or more.

    Raises
    ------
    ValueError
        If there are none.
    """
    if patches.masks is None:
        raise ValueError(f"{patches} has no masks; expected the type of nucleus of every pixel.")
    share = (patches.masks == NEOPLASTIC).mean(axis=(1, 2))
    known = (patches.masks != UNANNOTATED).all(axis=(1, 2))
    chosen = known & (share >= least) & (share < 1)
    if not chosen.any():
        raise ValueError(f"no patch of {patches} has masks with {least:.0%} of neoplastic area.")
    return patches.select(chosen)


def baseline_maps(images: np.ndarray, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Make maps that know nothing of any network and that every method has to beat.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
    seed : int
        Of ``random``.

    Returns
    -------
    dict of str to array, (N, H, W), float32 in [0, 1]
        ``uniform``; ``centre``, a Gaussian with a deviation of a quarter of the patch; ``random``
        places, a new draw a patch, as coarse as nuclei; and ``haematoxylin``, the stain's density
        after Ruifrok and Johnston (2001), a little smoothed.
    """
    count, height, width = images.shape[:3]
    y, x = (np.linspace(-2, 2, side) for side in (height, width))
    centre = np.exp(-(y[:, None] ** 2 + x**2) / 2)
    noise = np.random.default_rng(seed).normal(size=(count, height, width))
    random = [cv2.GaussianBlur(draw, (0, 0), width / 20) for draw in noise]
    stain = [cv2.GaussianBlur(rgb2hed(image)[..., 0], (0, 0), 2) for image in images]

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


def network_maps(
    networks: Mapping[str, Model],
    images: np.ndarray,
    layers: Sequence[str],
    *,
    methods: Sequence[str] = METHODS,
) -> dict[tuple[str, str, str], np.ndarray]:
    """Explain the tumor evidence of several networks, by network, method and layer.

    ``saliency`` is that of the layer ``input``, once a network.
    """
    maps = {}
    for network, model in networks.items():
        with warnings.catch_warnings(action="ignore", category=DeadMaps):  # the tables say it
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
        A row a map and patch: ``network``, ``method``, ``layer``, ``patch``, ``group``, a column a
        measure, see `MEASURES`, and ``dead``, 1 where the map is all zeros. Such a map points
        nowhere and counts as a uniform one.
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
        Of the random maps.

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
    """Set methods of a network against every baseline, patch by patch.

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
        A row a method, layer, measure and ``baseline``: the ``mean``, the ``baseline_mean`` and the
        share of its maps that are dead (``baseline_dead``), the ``difference`` and its interval
        ``low`` to ``high`` over groups. Its level is 95 % for all methods and layers of a measure
        together (Bonferroni).
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


def judge_c2(comparison: pd.DataFrame) -> str:
    """Say in words whether maps lie on neoplastic nuclei more than every baseline does.

    The verdict is that of average precision among nuclei, the one measure that a detector of nuclei
    of any kind cannot win.

    Parameters
    ----------
    comparison : DataFrame
        From `compare_with_baselines`.

    Returns
    -------
    str
        A line a measure and a verdict.
    """
    lines, beaten = [], {}
    for measure, part in comparison.groupby("measure", sort=False):
        maps = part.groupby(["method", "layer"], sort=False)
        beaten[measure] = int((maps["low"].min() > 0).sum())
        hardest = part.loc[maps["difference"].idxmin(), "baseline"].value_counts().index[0]
        lines.append(
            f"{MEASURES[measure]}: better than every baseline in {beaten[measure]} of {len(maps)} "
            f"methods and layers (most often the best baseline: {hardest})"
        )
    won, count = beaten["among_nuclei"], len(maps)
    claim = "prefers neoplastic to other nuclei measurably more than all baselines"
    if won == count:
        verdict = f"The data support C2: every map {claim}"
    elif won:
        verdict = f"The data support C2 in part: {won} of {count} maps {claim}"
    else:
        verdict = f"The data do not support C2: no map {claim}"
    return "\n".join([*lines, f"{verdict}. So few blocks could not refute it."])


# --- What a map's pixels do to the prediction -------------------------------------------------


def insertion_deletion(
    model: Model,
    patches: PatchSet,
    maps: Maps,
    *,
    target: str = "tumor",
    steps: int = 10,
    fill: str = "mean",
    seed: int = 0,
) -> pd.DataFrame:
    """Insert and delete pixels in the order of each map (Petsiuk et al. 2018).

    Insertion starts from, and deletion ends at, a patch without nuclei. The curves say little where
    the network gives that one (the share 0 of insertion) the same probability as the whole patch.

    Parameters
    ----------
    model : Model
    patches : PatchSet
    maps : mapping of str to array, (N, H, W)
        By method.
    target : str
        ``tumor`` or ``normal``: whose probability is followed.
    steps : int
        Equal shares of the area.
    fill : str
        What replaces pixels: ``mean``, the patch's mean colour, or ``blur``, the patch blurred
        until its nuclei are gone.
    seed : int
        Of the order of pixels that a map gives the same value, such as all of a dead one.

    Returns
    -------
    DataFrame
        A row a ``method``, ``curve`` (insertion, deletion), ``patch`` and ``share`` of the area,
        with the ``probability`` of the target, and the patch's ``group``.
    """
    images = patches.images
    if fill not in ("mean", "blur"):
        raise ValueError(f"fill is {fill!r}; expected mean or blur.")
    if fill == "mean":
        means = np.round(images.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
        empty = np.broadcast_to(means, images.shape)
    else:
        spread = images.shape[1] / 10
        empty = np.stack([cv2.GaussianBlur(image, (0, 0), spread) for image in images])
    shares = np.linspace(0, 1, steps + 1)
    ties = np.random.default_rng(seed).random((len(images), images[0, ..., 0].size))
    found = []
    for heat in progress_bar(maps.values(), desc="insert and delete", unit="map"):
        _check_masks(heat, np.zeros(images.shape[:3], bool))
        order = np.lexsort((ties, -heat.reshape(len(heat), -1)), axis=1)
        rank = np.argsort(order, axis=1).reshape(*heat.shape, 1) / heat[0].size
        for inside, outside in ((images, empty), (empty, images)):
            mixtures = [np.where(rank < share, inside, outside) for share in shares]
            found.append(model.predict(np.concatenate(mixtures)))
    probability = np.concatenate(found)
    index = pd.MultiIndex.from_product(
        [maps, ["insertion", "deletion"], shares, range(len(images))],
        names=["method", "curve", "share", "patch"],
    )
    table = pd.DataFrame(
        {"probability": probability if target == "tumor" else 1 - probability}, index=index
    ).reset_index()
    return table.assign(group=patches.groups[table["patch"]])


def curve_areas(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the area under each curve of `insertion_deletion`, a row a patch and method.

    A good map has a large ``insertion``, a small ``deletion`` and so a large ``difference``.
    """
    keys = ["method", "patch", "group"]
    areas = curves.groupby([*keys, "curve"], sort=False)[["share", "probability"]].apply(
        lambda part: auc(part["share"], part["probability"])
    )
    areas = areas.unstack("curve").reset_index()
    return areas.assign(difference=areas["insertion"] - areas["deletion"])


# --- Whether a map depends on what was learned ------------------------------------------------


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
        Of the random weights.

    Returns
    -------
    DataFrame
        A row a ``method``, ``kept_up_to`` (the last layer that kept its weights, or `NOTHING`) and
        ``patch``, with the ``spearman`` correlation and ``ssim`` of its map with the original one
        and its ``group``; for `OTHER_PATCH`, of the original maps of patches of two groups. NaN
        where one of the maps is constant, such as all zeros.
    """
    original = explain(model, patches.images)
    copy = keras.models.clone_model(model.network)
    copy.set_weights(model.network.get_weights())
    broken = Model(copy, model.backbone, "randomised", "", "", model.preprocesses)
    others = _of_another_group(patches.groups)
    rows = _rows(OTHER_PATCH, original, {name: heat[others] for name, heat in original.items()})
    for name in progress_bar([*reversed(layers), NOTHING], desc="randomise", unit="stage"):
        kept: set[str] = set()
        if name != NOTHING:
            upstream = keras.Model(copy.inputs, broken.layer(name).output)
            kept = {layer.name for layer in upstream.layers}
        for place, layer in enumerate(copy.layers):
            if layer.name not in kept:
                _randomise(layer, 100_003 * seed + place)
        with warnings.catch_warnings(action="ignore", category=DeadMaps):  # NaN says it
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
        Of the factors.

    Returns
    -------
    DataFrame
        As in `cascading_randomisation`, with a ``change`` instead of a depth.
    """
    images = patches.images
    factors = np.random.default_rng(seed).normal(1, jitter, (len(images), 1, 1, 3))
    stained = np.stack(
        [hed2rgb(rgb2hed(image) * factor) for image, factor in zip(images, factors, strict=True)]
    )
    changes: dict[str, tuple[np.ndarray, Callable]] = {
        "left-right flip": (images[:, :, ::-1], lambda maps: maps[:, :, ::-1]),
        "up-down flip": (images[:, ::-1], lambda maps: maps[:, ::-1]),
        "stain jitter": (np.uint8(np.round(255 * stained)), lambda maps: maps),
    }
    original = explain(model, images)
    others = _of_another_group(patches.groups)
    rows = _rows(OTHER_PATCH, original, {name: heat[others] for name, heat in original.items()})
    for change, (changed, back) in progress_bar(changes.items(), desc="stability", unit="change"):
        maps = explain(model, np.ascontiguousarray(changed))
        rows += _rows(change, original, {method: back(heat) for method, heat in maps.items()})
    return _similarity_table(rows, "change", patches)


def judge_randomisation(table: pd.DataFrame) -> str:
    """Say of each method whether its maps depend on the weights.

    A method fails where the maps of the wholly random network are still more like the original
    ones than those of another patch are, and passes where they are less so (95 % interval of the
    paired difference of rank correlations over groups). In between it is undecided.

    Parameters
    ----------
    table : DataFrame
        From `cascading_randomisation`.
    """
    lines = []
    for method, part in table.groupby("method", sort=False):
        by_depth = part.pivot_table(
            index=["patch", "group"], columns="kept_up_to", values="spearman"
        ).reset_index()
        if not {NOTHING, OTHER_PATCH} <= set(by_depth):
            lines.append(f"{method}: undecided; the random network's maps are all constant.")
            continue
        by_depth["difference"] = by_depth[NOTHING] - by_depth[OTHER_PATCH]
        found = intervals(by_depth, [], ["difference", NOTHING, OTHER_PATCH]).set_index("measure")
        low, high = found.loc["difference", ["low", "high"]]
        word = "FAILS" if low > 0 else "passes" if high < 0 else "undecided"
        lines.append(
            f"{method}: {word}; rank correlation with the wholly random network's maps "
            f"{found.loc[NOTHING, 'mean']:+.2f}, with those of another patch "
            f"{found.loc[OTHER_PATCH, 'mean']:+.2f}, difference {low:+.2f} to {high:+.2f} over "
            f"{found.loc['difference', 'groups']} groups"
        )
    return "\n".join(lines)


# --- Shared -----------------------------------------------------------------------------------


def intervals(
    table: pd.DataFrame,
    by: Sequence[str],
    measures: Sequence[str],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average measures, with bootstrap intervals that resample whole groups.

    Parameters
    ----------
    table : DataFrame
        A row a patch, with a column ``group``; rows without a measure's value are left out.
    by : sequence of str
        Columns whose combinations are averaged apart; may be empty.
    measures : sequence of str
        Columns to average.
    resamples, seed : int
        Of the bootstrap.
    level : float
        Of the intervals, in (0, 1).

    Returns
    -------
    DataFrame
        Columns `by`, ``measure``, ``mean``, ``low``, ``high`` (NaN for a single group), ``n``
        (patches) and ``groups``.
    """
    rows = []
    parts = table.groupby(list(by), sort=False) if len(by) else [((), table)]
    for key, part in parts:
        for measure in measures:
            known = part.dropna(subset=measure)
            totals = known.groupby("group")[measure].agg(["sum", "count"])
            low = high = np.nan
            if len(totals) > 1:
                low, high = bootstrap(
                    (totals["sum"].to_numpy(float), totals["count"].to_numpy(float)),
                    lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
                    paired=True,
                    method="percentile",
                    n_resamples=resamples,
                    confidence_level=level,
                    rng=np.random.default_rng(seed),
                ).confidence_interval
            rows.append((*key, measure, known[measure].mean(), low, high, len(known), len(totals)))
    return pd.DataFrame(rows, columns=[*by, "measure", "mean", "low", "high", "n", "groups"])


def similarity(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return rank correlation and structural similarity of two maps; NaN if one is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan, np.nan
    return (
        float(spearmanr(one, other, axis=None).statistic),
        float(structural_similarity(one, other, data_range=1)),
    )


def check_patches(patches: PatchSet) -> None:
    """Raise ValueError unless there are tumor patches of two groups or more, to be compared."""
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


def _randomise(layer: keras.Layer, seed: int) -> None:
    """Set a layer's weights to what they are before any training."""
    if not isinstance(layer, (keras.layers.Dense, keras.layers.BatchNormalization)) and not hasattr(
        layer, "kernel_size"
    ):
        return  # such as the statistics of a normalisation of the input
    for variable in layer.weights:
        if "kernel" in variable.name:
            start = keras.initializers.GlorotUniform(seed=seed)
        elif variable.name in ("gamma", "moving_variance"):
            start = keras.initializers.Ones()
        else:
            start = keras.initializers.Zeros()
        variable.assign(start(variable.shape))


def _check_masks(maps: np.ndarray, masks: np.ndarray) -> None:
    if maps.shape != masks.shape or masks.dtype != bool:
        raise ValueError(
            f"maps have the shape {maps.shape}, masks {masks.shape} and {masks.dtype}; expected "
            "the same shape, (N, H, W), and bool."
        )
