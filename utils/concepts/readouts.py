"""What a layer says about concepts, as functions of its features, for maps over slides."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from utils.concepts.ridge import PENALTIES, Ridge, choose_penalties
from utils.statistics import steady_scaler

Readout = Callable[[np.ndarray], np.ndarray]


def concept_readouts(
    features: np.ndarray, measures: pd.DataFrame, groups: np.ndarray
) -> tuple[dict[str, Readout], pd.DataFrame]:
    """Fit a ridge regression of each concept, to be applied to features of other patches.

    Parameters
    ----------
    features : array, (N, C), of one layer
    measures : DataFrame, N rows, one column per concept
    groups : array, (N,)
        Region or patient, over which penalties are chosen; of one group only, none is held out.

    Returns
    -------
    readouts : dict of str to callable
        By concept: from features, (n, C), to its values, (n,), cut off at the lowest and highest of
        `measures`, beyond which nothing was fitted.
    table : DataFrame
        ``r2`` of each ``concept`` on held-out groups, up to 5 folds; NaN for one group.
    """
    y, codes = measures.to_numpy(float), pd.factorize(groups)[0]
    count = min(5, codes.max() + 1)
    r2 = np.full(y.shape[1], np.nan)
    if count > 1:
        errors = np.zeros_like(y)
        for train, test in GroupKFold(count).split(features, groups=codes):
            predict = _fit(features[train], y[train], codes[train])
            errors[test] = y[test] - predict(features[test])
        r2 = 1 - (errors**2).mean(axis=0) / y.var(axis=0)
    predict = _fit(features, y, codes)
    readouts = {
        concept: lambda x, index=index: predict(x)[:, index]
        for index, concept in enumerate(measures)
    }
    return readouts, pd.DataFrame({"concept": list(measures), "r2": r2})


def _fit(features: np.ndarray, y: np.ndarray, codes: np.ndarray) -> Readout:
    """Fit all targets, ``(N, T)``; return the function from features to their values."""
    scaler = steady_scaler(features)
    z = scaler.transform(features)
    several = len(np.unique(codes)) > 1
    penalties = choose_penalties(z, y, codes) if several else np.median(PENALTIES)
    ridge, low, high = Ridge(z, y), y.min(axis=0), y.max(axis=0)

    def predict(x: np.ndarray) -> np.ndarray:
        return np.clip(ridge.predict(ridge.project(scaler.transform(x)), penalties), low, high)

    return predict
