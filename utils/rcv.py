"""Regression of concept measures on the features of a network's layers (Graziani et al. 2018)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from utils.models import Model

PENALTIES = tuple(np.logspace(0, 5, 11))


def layer_features(
    model: Model, images: np.ndarray, *, layers: Sequence[str] | None = None, batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Average every channel of every layer over the patch, in one forward pass.

    Parameters
    ----------
    model : Model
    images : array, (N, H, W, 3), uint8
    layers : sequence of str, optional
        By default all analysis layers of the backbone.
    batch_size : int
        Patches a pass.

    Returns
    -------
    dict of str to array, (N, C), float32
        By layer, from input to output.
    """
    layers = list(layers or model.backbone.layers)

    def build():
        network = model.submodel(layers)

        def pool(batch):
            outputs = network(batch, training=False)
            return {name: tf.reduce_mean(outputs[name], axis=(1, 2)) for name in layers}

        return pool

    key = ("layer_features", *layers)
    parts = list(model.run(key, build, images, batch_size=batch_size, description=model.title))
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in layers}


def in_sample_r2(features: Mapping[str, np.ndarray], measures: pd.DataFrame) -> pd.DataFrame:
    """Fit ordinary least squares and score it on the same patches, as the paper does.

    With as many features as patches this is 1 for anything, noise included; it is here to be
    compared with `cross_validated_r2`.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``r2``.
    """
    targets = _targets(measures)
    rows = []
    for layer, x in features.items():
        _check_rows(layer, x, targets)
        scaled = StandardScaler().fit_transform(x.astype(np.float64))
        residual = targets - LinearRegression().fit(scaled, targets).predict(scaled)
        r2 = 1 - (residual**2).sum(axis=0) / ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
        rows += [(layer, name, score) for name, score in zip(measures, r2, strict=True)]
    return pd.DataFrame(rows, columns=["layer", "concept", "r2"])


def cross_validated_r2(
    features: Mapping[str, np.ndarray],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    folds: int = 5,
    shuffles: int = 20,
    bootstraps: int = 1000,
    seed: int = 0,
    description: str = "regression",
) -> pd.DataFrame:
    """Predict concept measures of regions that the regression has not seen.

    Ridge regression on standardised features; the penalty is chosen within each training part by
    leaving out one patch at a time. Where patches overlap that favours small penalties, and the R2
    of the held-out regions, which the choice never sees, is rather too low than too high. It is
    the R2 of all held-out predictions together, negative where they are worse than the mean.

    Parameters
    ----------
    features : mapping of str to array, (N, C)
        From `layer_features`.
    measures : DataFrame, N rows
        One column a concept.
    groups : array, (N,)
        Region or patient; none is on both sides of a fold.
    folds : int
        Parts of the cross-validation.
    shuffles : int
        Repetitions of every concept with its values shuffled over the patches: the null, which
        ignores that neighbouring patches are alike.
    bootstraps : int
        Draws of groups, with replacement, for the interval.
    seed : int
        Of folds, shuffles and bootstrap.
    description : str
        Of the progress bar.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``r2``, ``low`` and ``high`` (95 % interval over groups),
        ``null_high`` (95th percentile of the shuffled concept's R2).

    Raises
    ------
    ValueError
        If a measure is constant or not finite, or there are fewer groups than folds.
    """
    targets = _targets(measures)
    codes = np.unique(groups, return_inverse=True)[1]
    if codes.max() + 1 < folds:
        raise ValueError(
            f"there are {codes.max() + 1} groups for {folds} folds: lower folds or add regions."
        )
    generator = np.random.default_rng(seed)
    # Shuffled concepts are further targets of the same regression, and cost next to nothing.
    orders = [generator.permutation(len(targets)) for _ in range(shuffles)]
    columns = np.hstack([targets, *(targets[order] for order in orders)])
    draws = generator.multinomial(
        codes.max() + 1, np.full(codes.max() + 1, 1 / (codes.max() + 1)), size=bootstraps
    )
    splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    rows = []
    for layer, x in tqdm(features.items(), desc=description, unit="layer"):
        _check_rows(layer, x, targets)
        x = x.astype(np.float64)
        predicted = np.empty_like(columns)
        for train, test in splitter.split(x, groups=groups):
            ridge = make_pipeline(StandardScaler(), RidgeCV(PENALTIES, alpha_per_target=True))
            predicted[test] = ridge.fit(x[train], columns[train]).predict(x[test])
        ones = np.ones((1, codes.max() + 1))
        r2 = _grouped_r2(columns, predicted, codes, ones)[0]
        count = len(measures.columns)
        spread = _grouped_r2(targets, predicted[:, :count], codes, draws)
        low, high = np.percentile(spread, [2.5, 97.5], axis=0)
        null = np.percentile(r2[count:].reshape(shuffles, count), 95, axis=0)
        rows += zip([layer] * count, measures, r2[:count], low, high, null, strict=True)
    return pd.DataFrame(rows, columns=["layer", "concept", "r2", "low", "high", "null_high"])


def _grouped_r2(
    truth: np.ndarray, predicted: np.ndarray, codes: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """R2 with every group counted as often as each draw has it: (draws, targets)."""

    def sums(values: np.ndarray) -> np.ndarray:
        total = np.zeros((draws.shape[1], *values.shape[1:]))
        np.add.at(total, codes, values)
        return draws @ total

    centred = truth - truth.mean(axis=0)
    count = sums(np.ones((len(truth), 1)))
    total = sums(centred**2) - sums(centred) ** 2 / count
    return 1 - sums((truth - predicted) ** 2) / total


def _targets(measures: pd.DataFrame) -> np.ndarray:
    targets = measures.to_numpy(dtype=np.float64)
    for name, column in zip(measures, targets.T, strict=True):
        if not np.isfinite(column).all():
            raise ValueError(
                f"concept {name!r} is not finite for {np.sum(~np.isfinite(column))} patches: leave "
                "these patches out."
            )
        if np.ptp(column) == 0:
            raise ValueError(f"concept {name!r} is {column[0]} for every patch: leave it out.")
    return targets


def _check_rows(layer: str, features: np.ndarray, targets: np.ndarray) -> None:
    if len(features) != len(targets):
        raise ValueError(
            f"{layer} has features of {len(features)} patches, but there are measures of "
            f"{len(targets)}: compute both from the same PatchSet."
        )
