"""What a layer says about concepts, as functions of its features, for maps over slides."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from utils.concepts.ridge import PENALTIES


def concept_readouts(
    features: np.ndarray, measures: pd.DataFrame, groups: np.ndarray
) -> tuple[dict[str, Callable[[np.ndarray], np.ndarray]], pd.DataFrame]:
    """Fit a ridge regression of each concept, to be applied to features of other patches.

    Parameters
    ----------
    features : array, (N, C), of one layer
    measures : DataFrame, N rows, one column per concept
    groups : array, (N,)
        Region or patient; with one group only, nothing is held out.

    Returns
    -------
    readouts : dict of str to callable
        By concept: from features, (n, C), to its values, (n,).
    table : DataFrame
        ``r2`` of each ``concept`` on held-out groups, up to 5 folds; NaN for one group.
    """
    count = min(5, len(np.unique(groups)))
    readouts, rows = {}, []
    for concept, values in measures.items():
        ridge = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        r2 = np.nan
        if count > 1:
            folds = {"groups": groups, "cv": GroupKFold(count)}
            errors = values - cross_val_predict(ridge, features, values, **folds)
            r2 = 1 - (errors**2).mean() / values.var(ddof=0)
        readouts[concept] = ridge.fit(features, values).predict
        rows.append((concept, r2))
    return readouts, pd.DataFrame(rows, columns=["concept", "r2"])
