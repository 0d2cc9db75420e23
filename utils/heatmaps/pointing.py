"""Whether heat maps point at neoplastic nuclei: by pixel in patches, by nucleus in groups."""

import warnings
from collections import namedtuple

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.segmentation import expand_labels
from sklearn.metrics import roc_auc_score

from utils.patches import NEOPLASTIC, PatchSet
from utils.patches.images import nuclei_table
from utils.patches.patchset import NUCLEUS_TYPES

Measure = namedtuple("Measure", ["title", "unit"])
MEASURES = {
    "pointing": Measure("pointing game: maximum in a neoplastic nucleus", "share of patches"),
    "energy_ratio": Measure(
        "energy in neoplastic nuclei, by their area", "ratio; 1 is no better than area"
    ),
    "rank_accuracy": Measure(
        "highest pixels, as many as neoplastic ones, in neoplastic nuclei", "share of these pixels"
    ),
    "sparseness": Measure("sparseness: Gini coefficient of the map", "0 (uniform) to 1"),
}
LEAST_NEOPLASTIC = 0.02  # smallest share of a patch's area in which pixels are measured
HIGHEST = 0.1  # share of the area above whose quantile a map is binarised
LEAST_NUCLEI = {"neoplastic": 5, "others": 2}  # of a group, for its AUROC
RING = 10  # pixels around a nucleus with which it is compared
SAME_SIZE = 1.25  # largest ratio of areas of two nuclei of the same size


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of each map's highest pixels in its mask (Zhang et al. 2018)."""
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return (highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of each map's sum in its mask, NaN for zeros (Wang et al. 2020)."""
    total = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = (maps * masks).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)


def rank_accuracy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share in its mask of each map's highest pixels, as many as the mask has.

    After Arras et al. (2022). Pixels of equal value share what is left of that number.
    """
    accuracy = np.full(len(maps), np.nan)
    for index, (heat, inside) in enumerate(zip(maps, masks, strict=True)):
        if count := inside.sum():
            threshold = np.sort(heat, axis=None)[-count]
            above, equal = heat > threshold, heat == threshold
            left = (count - above.sum()) / equal.sum()
            accuracy[index] = ((above & inside).sum() + left * (equal & inside).sum()) / count
    return accuracy


def binary_iou(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return intersection over union of mask and highest tenth of each map, NaN for no mask."""
    threshold = np.quantile(maps, 1 - HIGHEST, axis=(1, 2), keepdims=True)
    highest = (maps >= threshold) & (maps > maps.min(axis=(1, 2), keepdims=True))
    union = (highest | masks).sum(axis=(1, 2))
    overlap = np.divide((highest & masks).sum(axis=(1, 2)), np.maximum(union, 1))
    return np.where(masks.any(axis=(1, 2)), overlap, np.nan)


def gini(maps: np.ndarray) -> np.ndarray:
    """Return the Gini coefficient of each map's values, 0 for zeros (Chalasani et al. 2020)."""
    values = np.sort(maps.reshape(len(maps), -1).astype(np.float64), axis=1)
    count, total = values.shape[1], values.sum(axis=1)
    weighted = values @ (2 * np.arange(1, count + 1) - count - 1)
    return np.divide(weighted, count * total, out=np.zeros(len(maps)), where=total > 0)


def measure_pixels(heat: np.ndarray, patches: PatchSet) -> pd.DataFrame:
    """Measure the positive values of maps, ``(N, H, W)``, against masks; one row per patch.

    A dead map counts as a uniform one. Measures against neoplastic nuclei are NaN where these have
    less than 2 % of the patch's area.
    """
    heat = np.maximum(heat, 0)
    neoplastic = patches.masks == NEOPLASTIC
    area = neoplastic.mean(axis=(1, 2))
    measured = (area >= LEAST_NEOPLASTIC) & (area < 1)
    energy = np.divide(
        energy_inside(heat, neoplastic), area, where=measured, out=np.ones_like(area)
    )
    against = {
        "pointing": pointing_game(heat, neoplastic),
        "energy_ratio": np.nan_to_num(energy, nan=1.0),
        "rank_accuracy": rank_accuracy(heat, neoplastic),
    }
    ious = {
        f"iou_{name}": binary_iou(heat, patches.masks == value)
        for value, name in enumerate(NUCLEUS_TYPES[1:], 1)
    }
    columns = {name: np.where(measured, values, np.nan) for name, values in against.items()}
    columns |= {"sparseness": gini(heat), **ious, "dead": ~heat.any(axis=(1, 2))}
    table = pd.DataFrame(columns, dtype=float)
    return table.assign(patch=range(len(patches)), group=patches.groups)


def inside_and_around(heat: np.ndarray, nuclei: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Average a map, ``(H, W)``, in nuclei and in the rings around them, (n, 2)."""
    rings = np.where(nuclei > 0, 0, expand_labels(nuclei, RING))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a nucleus without any ring has NaN
        return np.stack([ndimage.mean(heat, mask, numbers) for mask in (nuclei, rings)], axis=1)


def whole_nuclei(patches: PatchSet) -> pd.DataFrame:
    """Tabulate each nucleus once, in the patch that has most of it, with ``group``."""
    table = nuclei_table(patches)
    index = table["patch"].to_numpy(dtype=int)
    table = table.assign(group=patches.groups[index], source=patches.sources[index])
    largest = table.groupby(["source", "nucleus"])["area"].idxmax()
    return table.loc[np.sort(largest)].drop(columns="source").reset_index(drop=True)


def score_nuclei(heat: np.ndarray, patches: PatchSet, nuclei: pd.DataFrame) -> pd.DataFrame:
    """Average maps, ``(N, H, W)``, ``inside`` and ``around`` each nucleus of `whole_nuclei`."""
    scores = np.empty((len(nuclei), 2))
    for index, rows in nuclei.groupby("patch"):
        arguments = heat[index], patches.nuclei[index], rows["nucleus"]
        scores[rows.index] = inside_and_around(*arguments)
    return nuclei.assign(inside=scores[:, 0], around=scores[:, 1])


def auroc_by_group(scores: pd.DataFrame) -> pd.DataFrame:
    """Compute how well scores tell neoplastic from other nuclei, within each group.

    Parameters
    ----------
    scores : DataFrame, one row per nucleus
        ``group``, ``type``, ``area``, ``inside`` and ``around``.

    Returns
    -------
    DataFrame, one row per group with at least 5 neoplastic and 2 other nuclei
        ``auroc``, neoplastic against the others; ``auroc_same_size``, the same over pairs whose
        areas differ by at most a quarter; ``auroc_ring``, neoplastic nuclei against the rings
        around them; ``neoplastic`` and ``others``, their numbers.
    """
    rows = []
    for group, nuclei in scores.groupby("group", sort=False):
        is_neoplastic = nuclei["type"] == "neoplastic"
        one, other = nuclei[is_neoplastic], nuclei[~is_neoplastic]
        if len(one) < LEAST_NUCLEI["neoplastic"] or len(other) < LEAST_NUCLEI["others"]:
            continue
        difference = np.subtract.outer(one["inside"].to_numpy(), other["inside"].to_numpy())
        wins = (np.sign(difference) + 1) / 2  # their mean is the AUROC
        ratio = np.divide.outer(one["area"].to_numpy(), other["area"].to_numpy())
        same_size = np.maximum(ratio, 1 / ratio) <= SAME_SIZE
        matched = wins[same_size].mean() if same_size.any() else np.nan
        ringed = one.dropna(subset="around")
        against_ring = np.nan
        if len(ringed):
            truth = np.repeat([1, 0], len(ringed))
            against_ring = roc_auc_score(truth, [*ringed["inside"], *ringed["around"]])
        rows.append((group, wins.mean(), matched, against_ring, len(one), len(other)))
    columns = ["group", "auroc", "auroc_same_size", "auroc_ring", *LEAST_NUCLEI]
    return pd.DataFrame(rows, columns=columns)
