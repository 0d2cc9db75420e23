"""Whether highlighted pixels carry the prediction: they are inserted, deleted or imputed in order.

What is measured is the log-odds of tumor, since a probability near 1 hardly changes.
"""

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import spsolve
from sklearn.metrics import auc

from utils.heatmaps.baselines import baseline_maps
from utils.heatmaps.maps import Maps, explain
from utils.heatmaps.methods import ONE_PASS
from utils.networks import Finetuning, Model, average_seeds, pool
from utils.once import Once, directly
from utils.patches import PatchSet, to_uint8
from utils.progress import progress_bar

CELL = 4  # pixels of the side of a cell, in which what is imputed is constant before smoothing
NOISE = 2.55  # deviation of the noise on imputed pixels, 1 % of the range (Rong et al. 2022)
# Weights of direct and diagonal neighbours in an imputed pixel (Rong et al. 2022).
NEIGHBOURS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}


def maps_in_order(
    model: Model, images: np.ndarray, maps: Maps | None, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each method with the share of the area that comes before each pixel, ``(N, H, W, 1)``.

    By default the maps are those of `ONE_PASS` and the baselines that have an order.
    """
    if maps is None:
        maps = explain(model, images, methods=ONE_PASS) | baseline_maps(images, seed=seed)
        del maps["uniform"]
    ties = np.random.default_rng(seed).random((len(images), images[0, ..., 0].size))
    for method, heat in progress_bar(maps.items(), desc="insert and delete", unit="map"):
        order = np.lexsort((ties, -heat.reshape(ties.shape)), axis=1)
        yield method, np.argsort(order, axis=1).reshape(*heat.shape, 1) / heat[0].size


def insertion_deletion(
    model: Model, patches: PatchSet, maps: Maps | None = None, *, steps: int = 4, seed: int = 0
) -> pd.DataFrame:
    """Insert and delete pixels in the order of each map (Petsiuk et al. 2018).

    A patch's mean colour stands for no pixel.

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
        area, with the ``logit``, the log-odds of tumor, and the patch's ``group``.
    """
    images = np.asarray(patches.images)
    empty = np.round(images.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
    shares = np.linspace(0, 1, steps + 1)

    def mixtures(rank: np.ndarray) -> Iterator[tuple[str, float, np.ndarray]]:
        for curve, inside, outside in (("insertion", images, empty), ("deletion", empty, images)):
            for share in shares[1:-1]:
                yield curve, share, np.where(rank < share, inside, outside)

    orders = maps_in_order(model, images, maps, seed)
    between = _predict(model, patches, ((name, mixtures(rank)) for name, rank in orders))
    # The ends of the curves are the same for all maps.
    whole = [("insertion", 1.0, images), ("deletion", 0.0, images)]
    none = [(curve, 1 - share, np.broadcast_to(empty, images.shape)) for curve, share, _ in whole]
    ends = _predict(model, patches, [("", [*whole, *none])])
    methods = between["method"].unique()
    table = pd.concat([between, *(ends.assign(method=method) for method in methods)])
    return table.sort_values(["method", "curve", "share", "patch"], ignore_index=True)


def remove_and_impute(
    model: Model,
    patches: PatchSet,
    maps: Maps | None = None,
    *,
    shares: Iterable[float] = (0.25, 0.5, 0.75),
    seed: int = 0,
) -> pd.DataFrame:
    """Remove pixels in the order of each map, and impute them from those that are left.

    ROAD (Rong et al. 2022): what is removed leaves no edge that would tell its place.

    Parameters
    ----------
    model, patches, maps, seed
        As in `insertion_deletion`.
    shares : iterable of float
        Shares of the area that are removed.

    Returns
    -------
    DataFrame
        As from `insertion_deletion`; ``curve`` says whether the ``highest`` or the ``lowest``
        values were removed first.
    """
    images = np.asarray(patches.images)

    def removals(rank: np.ndarray) -> Iterator[tuple[str, float, np.ndarray]]:
        for share in shares:
            for curve, removed in (("highest", rank < share), ("lowest", rank >= 1 - share)):
                generator = np.random.default_rng(seed)
                pairs = zip(images, removed[..., 0], strict=True)
                yield curve, share, np.stack([impute(*pair, generator) for pair in pairs])

    orders = maps_in_order(model, images, maps, seed)
    return _predict(model, patches, ((name, removals(rank)) for name, rank in orders))


def curves_of_finetunings(
    finetunings: Sequence[Finetuning], patches: PatchSet, *, once: Once = directly
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Insert, delete and impute pixels by the maps of networks that have not seen the patches.

    Parameters
    ----------
    finetunings : sequence of Finetuning
    patches : PatchSet
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.

    Returns
    -------
    inserted, imputed : DataFrame
        Tables of `insertion_deletion` and `remove_and_impute`, averaged over the networks that were
        asked about the same patch.
    """

    def curves(one: Finetuning, unseen: PatchSet) -> tuple[pd.DataFrame, pd.DataFrame]:
        inserted = once(insertion_deletion, one.model, unseen)
        return inserted, once(remove_and_impute, one.model, unseen)

    inserted, imputed = (
        average_seeds(table, ["logit"]) for table in pool(finetunings, patches, curves)
    )
    return inserted, imputed


def impute(image: np.ndarray, removed: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Fill removed pixels, ``(H, W)``, so that each is the mean of its neighbours, with noise.

    The equations are solved for cells of a few pixels, whose values are interpolated: the solution
    is smooth, and there are 16 times fewer unknowns.
    """
    height, width = removed.shape
    size = -(-height // CELL), -(-width // CELL)
    padding = ((0, size[0] * CELL - height), (0, size[1] * CELL - width))
    kept = np.pad(~removed, padding)
    colours = np.pad(image, (*padding, (0, 0)), mode="edge") * kept[..., None]

    def cells(values: np.ndarray) -> np.ndarray:
        return values.reshape(size[0], CELL, size[1], CELL, -1).sum(axis=(1, 3), dtype=np.float64)

    count = cells(kept)
    coarse = np.divide(cells(colours), count, out=np.zeros((*size, 3)), where=count > 0)
    unknown = np.flatnonzero(count == 0)
    if len(unknown) == count.size:
        raise ValueError("all pixels are to be removed: expected a share of the area below 1.")
    if len(unknown):
        matrix = _mean_of_neighbours(size)
        flat = coarse.reshape(-1, 3)
        system = diags_array(np.ones(len(unknown))) - matrix[unknown][:, unknown]
        flat[unknown] = spsolve(system.tocsc(), matrix[unknown] @ flat).reshape(-1, 3)
    fine = cv2.resize(np.float32(coarse), (size[1] * CELL, size[0] * CELL))[:height, :width]
    noisy = to_uint8((fine + generator.normal(0, NOISE, fine.shape)) / 255)
    return np.where(removed[..., None], noisy, image)


def _mean_of_neighbours(size: tuple[int, int]) -> coo_array:
    """Matrix that takes the weighted mean of each cell's neighbours, fewer at the border."""
    number = np.arange(size[0] * size[1]).reshape(size)
    rows, columns, weights = [], [], []
    for (down, right), weight in NEIGHBOURS.items():
        one = number[: size[0] - down, max(-right, 0) : size[1] - max(right, 0)].ravel()
        other = number[down:, max(right, 0) : size[1] + min(right, 0)].ravel()
        rows += [one, other]
        columns += [other, one]
        weights += [np.full(2 * len(one), weight)]
    place = np.concatenate(rows), np.concatenate(columns)
    matrix = coo_array((np.concatenate(weights), place)).tocsr()
    return diags_array(1 / matrix.sum(axis=1)) @ matrix


def _predict(
    model: Model,
    patches: PatchSet,
    variants: Iterable[tuple[str, Iterable[tuple[str, float, np.ndarray]]]],
) -> pd.DataFrame:
    """Compute the log-odds of variants of all patches, by method, curve and share."""
    columns = ["method", "curve", "share", "patch", "group", "logit"]
    tables = []
    for method, of_method in variants:
        keys, images = [], []
        for curve, share, changed in of_method:
            keys += [
                (method, curve, share, index, group) for index, group in enumerate(patches.groups)
            ]
            images.append(changed)
        logits = model.log_odds(np.concatenate(images))
        rows = [(*key, logit) for key, logit in zip(keys, logits.tolist(), strict=True)]
        tables.append(pd.DataFrame(rows, columns=columns))
    return pd.concat(tables, ignore_index=True)


def curve_areas(curves: pd.DataFrame) -> pd.DataFrame:
    """Compute the mean of each curve of `insertion_deletion` or `remove_and_impute` over shares.

    Parameters
    ----------
    curves : DataFrame

    Returns
    -------
    DataFrame, one row per patch and method
        Mean log-odds (area under the curve, divided by the range of shares), by curve, and their
        ``difference``, large for a good map: ``insertion`` minus ``deletion``, or ``lowest`` minus
        ``highest`` first.
    """
    by_curve = curves.groupby(["method", "patch", "group", "curve"], sort=False)
    areas = by_curve[["share", "logit"]].apply(
        lambda curve: auc(curve["share"], curve["logit"]) / np.ptp(curve["share"])
    )
    areas = areas.unstack("curve").reset_index()
    good, bad = ("insertion", "deletion") if "insertion" in areas else ("lowest", "highest")
    return areas.assign(difference=areas[good] - areas[bad])
