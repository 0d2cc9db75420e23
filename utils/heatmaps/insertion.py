"""How the pixels that a heat map marks change the prediction: insertion and deletion."""

import cv2
import numpy as np
import pandas as pd
from sklearn.metrics import auc

from utils.heatmaps.maps import Maps
from utils.heatmaps.pointing import check_maps
from utils.networks import Model
from utils.patches import PatchSet
from utils.progress import progress_bar


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

    The curves say little where a patch without nuclei, with which insertion starts and deletion
    ends, has the probability of the whole patch.

    Parameters
    ----------
    model, patches : Model and PatchSet
        A classifier of tumor, and the patches of the maps.
    maps : mapping of str to array, (N, H, W)
        Heat maps by method.
    target : str
        Class whose probability is followed, ``tumor`` or ``normal``.
    steps : int
        Number of equal shares of the area.
    fill : str
        Replacement of pixels: ``mean``, the patch's mean colour, or ``blur``, the blurred patch.
    seed : int
        Seed of the order of pixels with equal values, such as all of a map of zeros.

    Returns
    -------
    DataFrame
        One row per ``method``, ``curve`` (insertion, deletion), ``patch`` and ``share`` of the
        area, with the ``probability`` of the target, and the patch's ``group``.
    """
    images = patches.images
    if fill not in ("mean", "blur"):
        raise ValueError(f"fill is {fill!r}; expected mean or blur.")
    if fill == "mean":
        means = np.round(images.mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
        empty = np.broadcast_to(means, images.shape)
    else:
        spread = images.shape[1] / 10  # nuclei are gone
        empty = np.stack([cv2.GaussianBlur(image, (0, 0), spread) for image in images])
    shares = np.linspace(0, 1, steps + 1)
    ties = np.random.default_rng(seed).random((len(images), images[0, ..., 0].size))
    predicted = []
    for heat in progress_bar(maps.values(), desc="insert and delete", unit="map"):
        check_maps(heat, patches)
        order = np.lexsort((ties, -heat.reshape(len(heat), -1)), axis=1)
        rank = np.argsort(order, axis=1).reshape(*heat.shape, 1) / heat[0].size
        for inside, outside in ((images, empty), (empty, images)):
            mixtures = [np.where(rank < share, inside, outside) for share in shares]
            predicted.append(model.predict(np.concatenate(mixtures)))
    probability = np.concatenate(predicted)
    levels = [maps, ["insertion", "deletion"], shares, range(len(images))]
    index = pd.MultiIndex.from_product(levels, names=["method", "curve", "share", "patch"])
    table = index.to_frame(index=False)
    table["probability"] = probability if target == "tumor" else 1 - probability
    return table.assign(group=patches.groups[table["patch"]])


def curve_areas(curves: pd.DataFrame) -> pd.DataFrame:
    """Compute the area under each curve of `insertion_deletion`.

    Parameters
    ----------
    curves : DataFrame
        Table from `insertion_deletion`.

    Returns
    -------
    DataFrame
        One row per patch and method: ``insertion`` (large for a good map), ``deletion`` (small) and
        their ``difference``.
    """
    keys = ["method", "patch", "group"]
    areas = curves.groupby([*keys, "curve"], sort=False)[["share", "probability"]].apply(
        lambda curve: auc(curve["share"], curve["probability"])
    )
    areas = areas.unstack("curve").reset_index()
    return areas.assign(difference=areas["insertion"] - areas["deletion"])
