"""How much of a network is kept: similarity of features, and what changes in them, by layer."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from utils.concepts.folds import Folds, OfFolds, of_fold
from utils.progress import progress_bar
from utils.statistics import centred, jackknife_interval

ALL = "none"  # of the groups is left out


def cka_left_out(
    networks: Mapping[str, Mapping[str, OfFolds]],
    pairs: Sequence[tuple[str, str]],
    groups: np.ndarray,
    splits: Folds | None = None,
    *,
    images: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compare the features of networks by linear centred kernel alignment (Kornblith 2019).

    By the unbiased estimator of HSIC (Song 2012): independent features have 0 on average. Networks
    are compared on the patches that each finetuned one has not seen, and folds are averaged.

    Parameters
    ----------
    networks : mapping of str to (mapping of str to array, (N, C), or to a sequence of them)
        Features by network and layer, from `layer_features`, of one network or of one per split.
    pairs : sequence of (str, str)
    groups : array, (N,)
    splits : sequence of (array, array), optional
        Indices of training and held-out patches; without them, all patches are compared.
    images : array, (N,), optional
        Image of each patch, within which features are centred: what tells the images apart is
        alike in most networks.

    Returns
    -------
    DataFrame
        One row per pair (``one``, ``other``) and ``layer``, its index. The column ``none`` has
        CKA: 1 for features that are equal up to rotation, scale and shift, NaN for constant ones;
        the others, with more than two groups, have it without the group that they are named by.
    """
    images = np.zeros(len(groups)) if images is None else images
    splits = splits or [(None, np.arange(len(groups)))]
    tables = []
    for fold, (_, test) in enumerate(splits):
        names = np.unique(groups[test])
        kept = {ALL: np.ones(len(test), bool)}
        kept |= {name: groups[test] != name for name in names if len(names) > 2}
        rows = {}
        for layer in progress_bar(networks[pairs[0][0]], desc="CKA", unit="layer"):
            grams = {
                name: _gram(of_fold(networks[name][layer], fold)[test], images[test])
                for name in {name for pair in pairs for name in pair}
            }
            for one, other in pairs:
                rows[one, other, layer] = {
                    name: _cka(grams[one][np.ix_(mask, mask)], grams[other][np.ix_(mask, mask)])
                    for name, mask in kept.items()
                }
        tables.append(pd.DataFrame.from_dict(rows, orient="index"))
    columns = {ALL: sum(table[ALL] for table in tables) / len(tables)}
    for table in tables:  # without a group, its fold has another value, the others have the same
        for name in table.columns.drop(ALL):
            columns[name] = columns[ALL] + (table[name] - table[ALL]) / len(tables)
    return pd.DataFrame(columns).rename_axis(["one", "other", "layer"])


def cka_by_layer(left_out: pd.DataFrame) -> pd.DataFrame:
    """Give CKA with intervals over groups, by the jackknife.

    A bootstrap would repeat patches, which inflates CKA.

    Parameters
    ----------
    left_out : DataFrame, from `cka_left_out`

    Returns
    -------
    DataFrame
        ``one``, ``other``, ``layer``, ``cka``, and its 95 % interval ``low`` to ``high``, NaN for
        fewer than three groups.
    """
    low, high = jackknife_interval(left_out.to_numpy().T)
    return pd.DataFrame({"cka": left_out[ALL], "low": low, "high": high}).reset_index()


def feature_changes(
    before: Mapping[str, OfFolds],
    after: Mapping[str, OfFolds],
    gradients: Mapping[str, OfFolds],
    images: np.ndarray,
    splits: Folds | None = None,
) -> pd.DataFrame:
    """Say what finetuning adds to the features of each layer: how much, and in which directions.

    Parameters
    ----------
    before, after, gradients : mapping of str to array, (N, C), or to a sequence of them
        Features before and after finetuning, and gradients of the logit, by layer, as in
        `cka_left_out`.
    images : array, (N,)
        Image of each patch, within which features are centred.
    splits : sequence of (array, array), optional
        As in `cka_left_out`.

    Returns
    -------
    DataFrame, one row per ``layer``, means over splits
        ``relative``: norm of the change over that of the features before; ``directions``: number of
        singular values that the change amounts to (squared sum of their squares over the sum of
        their fourth powers); ``first``: share of its variance along the first direction; ``head``:
        the same along the mean gradient of the logit, beside ``chance``, one over the number of
        channels.
    """
    splits = splits or [(None, np.arange(len(images)))]
    rows = []
    for layer, features in progress_bar(before.items(), desc="feature changes", unit="layer"):
        for fold, (_, test) in enumerate(splits):
            x = centred(of_fold(features, fold)[test].astype(np.float64), images[test])
            y = centred(of_fold(after[layer], fold)[test].astype(np.float64), images[test])
            slope = of_fold(gradients[layer], fold)[test].mean(axis=0, dtype=np.float64)
            square = np.linalg.svd(y - x, compute_uv=False) ** 2
            total = max(square.sum(), 1e-300)
            along = (y - x) @ slope / max(np.linalg.norm(slope), 1e-300)
            columns = {"layer": layer, "relative": np.sqrt(total / max((x**2).sum(), 1e-300))}
            columns |= {"directions": total**2 / max((square**2).sum(), 1e-300)}
            columns |= {"first": square[0] / total, "head": (along**2).sum() / total}
            rows.append(columns | {"chance": 1 / x.shape[1]})
    return pd.DataFrame(rows).groupby("layer", sort=False).mean().reset_index()


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
