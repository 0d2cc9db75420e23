"""How much of a network is kept: similarity of features and change of weights, by layer."""

from collections.abc import Mapping

import keras
import numpy as np
import pandas as pd

from utils.concepts.folds import Folds, OfFolds, of_fold
from utils.networks import Model
from utils.progress import progress_bar
from utils.statistics import centred, jackknife_interval


def cka_by_layer(
    networks: Mapping[str, Mapping[str, np.ndarray]],
    pairs: list[tuple[str, str]],
    groups: np.ndarray,
    *,
    images: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compare the features of networks by linear centred kernel alignment (Kornblith 2019).

    By the unbiased estimator of HSIC (Song 2012): independent features have 0 on average.

    Parameters
    ----------
    networks : mapping of str to (mapping of str to array, (N, C))
        Features by network and layer, from `layer_features`.
    pairs : list of (str, str)
    groups : array, (N,)
    images : array, (N,), optional
        Image of each patch, within which features are centred: what tells the images apart is
        alike in most networks.

    Returns
    -------
    DataFrame
        Columns ``one``, ``other``, ``layer``, ``cka`` (1 for features that are equal up to
        rotation, scale and shift; NaN for constant ones), and its 95 % interval ``low`` to ``high``
        by the jackknife over groups (a bootstrap repeats patches, which inflates CKA).
    """
    names = np.unique(groups)
    images = np.zeros(len(groups)) if images is None else images
    rows = []
    for layer in progress_bar(networks[pairs[0][0]], desc="CKA", unit="layer"):
        grams = {name: _gram(networks[name][layer], images) for pair in pairs for name in pair}
        for one, other in pairs:
            kept = [np.ix_(groups != name, groups != name) for name in names if len(names) > 2]
            left_out = [_cka(grams[one][k], grams[other][k]) for k in kept]
            value = _cka(grams[one], grams[other])
            rows.append(
                (one, other, layer, value, *jackknife_interval(np.array([value, *left_out])))
            )
    return pd.DataFrame(rows, columns=["one", "other", "layer", "cka", "low", "high"])


def cka_of_folds(
    networks: Mapping[str, Mapping[str, OfFolds]],
    pairs: list[tuple[str, str]],
    groups: np.ndarray,
    splits: Folds | None = None,
    *,
    images: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compare networks on the patches that each finetuned one has not seen, and average.

    Parameters
    ----------
    networks, splits
        Features and splits as in `regress`, by network; without splits, of all patches.
    pairs, groups, images
        As in `cka_by_layer`.

    Returns
    -------
    DataFrame, as from `cka_by_layer`, with means over the splits
    """
    if splits is None:
        return cka_by_layer(networks, pairs, groups, images=images)
    tables = []
    for fold, (_, test) in enumerate(splits):
        features = {
            name: {layer: of_fold(x, fold)[test] for layer, x in layers.items()}
            for name, layers in networks.items()
        }
        of_test = None if images is None else images[test]
        tables.append(cka_by_layer(features, pairs, groups[test], images=of_test))
    keys = ["one", "other", "layer"]
    return pd.concat(tables).groupby(keys, sort=False).mean().reset_index()


def weight_change(before: Model, after: Model) -> pd.DataFrame:
    """Compare the kernels of two networks of one backbone.

    Parameters
    ----------
    before, after : Model

    Returns
    -------
    DataFrame, one row per analysis layer, for the kernels since the previous one
        ``layer``, ``relative_change`` (norm of the difference over the norm before) and ``cosine``.
    """
    if before.backbone is not after.backbone:
        raise ValueError(f"{before.title} and {after.title} are not of the same backbone.")
    seen: set[int] = set()
    rows = []
    for name in before.backbone.layers:
        kernels = [_kernels_up_to(model, name) for model in (before, after)]
        added = [index for index in range(len(kernels[0])) if index not in seen]
        seen.update(added)
        if added:
            old, new = (
                np.concatenate([np.ravel(k[i]) for i in added], dtype=float) for k in kernels
            )
            norm = np.linalg.norm(old)
            cosine = old @ new / (norm * np.linalg.norm(new))
            rows.append((name, np.linalg.norm(new - old) / norm, cosine))
    return pd.DataFrame(rows, columns=["layer", "relative_change", "cosine"])


def _kernels_up_to(model: Model, name: str) -> list[keras.Variable]:
    """Kernels that a layer depends on, in an order that does not change with deeper layers."""
    needed = keras.Model(model.network.inputs, model.layer(name).output).layers
    weights = (w for layer in model.network.layers if layer in needed for w in layer.weights)
    return [weight for weight in weights if weight.name == "kernel"]


def _gram(features: np.ndarray, images: np.ndarray) -> np.ndarray:
    within = centred(features.astype(np.float64), images)
    return within @ within.T


def _hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Unbiased estimate of HSIC from two Gram matrices (Song et al. 2012, equation 5)."""
    n = len(k)
    k, m = (a - np.diag(np.diag(a)) for a in (k, m))
    trace, sums = (k * m).sum(), k.sum() * m.sum()
    cross = k.sum(axis=0) @ m.sum(axis=0)
    return (trace + sums / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))


def _cka(k: np.ndarray, m: np.ndarray) -> float:
    product = _hsic(k, k) * _hsic(m, m)
    return float(_hsic(k, m) / np.sqrt(product)) if product > 0 else np.nan
