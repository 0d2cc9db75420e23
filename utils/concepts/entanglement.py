"""What a layer knows of one concept beyond the others, and how much their directions coincide."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from utils.concepts.analysis import cross_validated_r2
from utils.concepts.folds import Folds, OfFolds, centring, of_fold
from utils.progress import progress_bar
from utils.statistics import steady_scaler


def without_others(measures: pd.DataFrame, within: np.ndarray | None = None) -> pd.DataFrame:
    """Leave of each measure what the others do not explain linearly, within strata if given.

    Raises ValueError where nothing is left.
    """
    values = measures.to_numpy(np.float64)
    if within is not None:
        values = centring(np.zeros(len(values)), within, np.arange(len(values)))(values)
    residuals = {}
    for index, name in enumerate(measures):
        others = np.delete(values, index, axis=1)
        fit = LinearRegression().fit(others, values[:, index])
        residuals[name] = values[:, index] - fit.predict(others)
        if residuals[name].std() <= 1e-6 * values[:, index].std():
            raise ValueError(f"the other measures determine {name!r}: leave it out.")
    return pd.DataFrame(residuals, index=measures.index)


def partial_r2(
    features: Mapping[str, OfFolds],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    images: np.ndarray,
    classes: np.ndarray,
    **options,
) -> pd.DataFrame:
    """Score how well a layer predicts what of a concept the other concepts do not explain.

    Parameters
    ----------
    features, measures, groups, images, classes, **options
        As in `regress`, with at least two concepts.

    Returns
    -------
    DataFrame, as from `cross_validated_r2`
        Its R2 is that of the rest of each concept, after regression on the others within image and
        class.
    """
    if measures.shape[1] < 2:
        raise ValueError(f"measures are {list(measures)}; expected at least two.")
    strata = pd.factorize(pd.MultiIndex.from_arrays([images, classes]))[0]
    rest = without_others(measures, strata)
    about = {"permutations": 0, "description": "regression beyond the other concepts"}
    options = {**about, **options, "images": images, "classes": classes}
    return cross_validated_r2(features, rest, groups, **options)


def concept_angles(
    features: Mapping[str, OfFolds],
    measures: pd.DataFrame,
    *,
    images: np.ndarray,
    classes: np.ndarray,
    splits: Folds | None = None,
) -> pd.DataFrame:
    """Compare the directions of concepts in each layer with the concepts' own correlation.

    Parameters
    ----------
    features, measures, images, classes
        As in `regress`.
    splits : sequence of (array, array), optional
        Folds, in whose training patches directions are computed; cosines are averaged over them.

    Returns
    -------
    DataFrame, one row per ``layer`` and pair of concepts, ``one`` and ``other``
        ``cosine`` of their patterns, the covariance with each standardised feature (Pahde et al.
        2025), and ``correlation`` of the measures, both within image and class.
    """
    everything = np.arange(len(measures))
    splits = splits or [(everything, everything)]
    values, names = measures.to_numpy(np.float64), list(measures)
    rows = []
    for layer, x in progress_bar(features.items(), desc="angles", unit="layer"):
        for fold, (train, _) in enumerate(splits):
            within = centring(images, classes, train)
            z = of_fold(x, fold)[train].astype(np.float64)
            z, y = within(steady_scaler(z).transform(z)), within(values[train])
            patterns = z.T @ y
            patterns /= np.maximum(np.linalg.norm(patterns, axis=0), 1e-300)
            cosine, correlation = patterns.T @ patterns, np.corrcoef(y.T)
            for i, j in zip(*np.triu_indices(len(names), 1), strict=True):
                rows.append((layer, names[i], names[j], cosine[i, j], correlation[i, j]))
    table = pd.DataFrame(rows, columns=["layer", "one", "other", "cosine", "correlation"])
    return table.groupby(["layer", "one", "other"], sort=False).mean().reset_index()
