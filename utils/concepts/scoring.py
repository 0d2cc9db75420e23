"""How well concepts are predicted: R2 in-sample, held out, by number of patches."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from utils.concepts.regression import (
    Regression,
    check_rows,
    concept_targets,
    cross_fit,
    fold_codes,
    held_out_r2,
    regress,
)
from utils.progress import progress_bar
from utils.statistics import (
    group_codes,
    grouped_r2,
    percentile_interval,
    permutation_p_value,
    resample_groups,
    with_false_discovery_rate,
)


def in_sample_r2(features: Mapping[str, np.ndarray], measures: pd.DataFrame) -> pd.DataFrame:
    """Fit ordinary least squares and score it on the same patches, as the paper does.

    With at least as many features as patches this is 1 for any target, even noise: compare it with
    `cross_validated_r2`.

    Parameters
    ----------
    features : mapping of str to array, (N, C)
        Features by layer.
    measures : DataFrame, N rows
        One column per concept.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``r2`` and ``adjusted_r2``, which is NaN unless there are
        more patches than features.
    """
    targets = concept_targets(measures)
    tables = []
    for layer, x in progress_bar(features.items(), desc="in-sample", unit="layer"):
        check_rows(layer, x, targets)
        scaled = StandardScaler().fit_transform(x.astype(np.float64))
        fit = LinearRegression().fit(scaled, targets)
        r2 = r2_score(targets, fit.predict(scaled), multioutput="raw_values")
        freedom = len(x) - fit.rank_ - 1
        adjusted = 1 - (1 - r2) * (len(x) - 1) / freedom if freedom > 0 else np.nan
        columns = {"layer": layer, "concept": list(measures), "r2": r2, "adjusted_r2": adjusted}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def cross_validated_r2(
    features: Mapping[str, np.ndarray], measures: pd.DataFrame, groups: np.ndarray, **options
) -> pd.DataFrame:
    """Score the predictions of `regress`, which takes the same arguments.

    Parameters
    ----------
    features, measures, groups, **options
        As in `regress`.

    Returns
    -------
    DataFrame
        As from `r2_table`.
    """
    return r2_table(regress(features, measures, groups, **options), groups)


def r2_table(
    regressions: Mapping[str, Regression],
    groups: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score held-out predictions.

    R2 is that of all held-out predictions together, negative where they are worse than the mean.

    Parameters
    ----------
    regressions : mapping of str to Regression
        Regressions by layer, from `regress`.
    groups : array, (N,)
        Group of each patch.
    resamples : int
        Resamples of the groups, for the interval.
    seed : int
        Seed of the resampling.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``r2`` (mean over repeats), ``low`` and ``high`` (95 %
        interval over groups), ``sd_over_repeats``, ``null_low`` and ``null_high`` (95 % range of
        R2 for permuted groups), ``p`` (one-sided, from the permutations) and ``q`` (the same with
        the false discovery rate controlled over the rows, Benjamini and Hochberg 1995).
    """
    codes = group_codes(groups)
    counts = resample_groups(codes, resamples, seed)
    tables = []
    for layer, regression in regressions.items():
        by_repeat = _repeated_r2(regression, codes, _every_group_once(codes))[:, 0]
        resampled = _repeated_r2(regression, codes, counts).mean(axis=0)
        null, table = regression.null_r2, {"layer": layer, "concept": regression.concepts}
        table["r2"] = by_repeat.mean(axis=0)
        table["low"], table["high"] = percentile_interval(resampled)
        table["sd_over_repeats"] = by_repeat.std(axis=0, ddof=1) if len(by_repeat) > 1 else np.nan
        table["null_low"], table["null_high"] = (
            percentile_interval(null) if len(null) else [np.nan] * 2
        )
        table["p"] = permutation_p_value(by_repeat[0], null) if len(null) else np.nan
        tables.append(pd.DataFrame(table))
    return with_false_discovery_rate(pd.concat(tables, ignore_index=True), "p")


def r2_difference(
    one: Mapping[str, Regression],
    other: Mapping[str, Regression],
    groups: np.ndarray,
    layers: Sequence[str],
    other_layers: Sequence[str] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return the difference of mean held-out R2 over concepts and layers, and its 95 % interval.

    Both regressions are of the same patches and concepts, and share the resamples of groups.
    """
    codes = group_codes(groups)
    counts = np.vstack([_every_group_once(codes), resample_groups(codes, resamples, seed)])

    def mean(regressions: Mapping[str, Regression], names: Sequence[str]) -> np.ndarray:
        r2 = [_repeated_r2(regressions[name], codes, counts).mean(axis=(0, 2)) for name in names]
        return np.mean(r2, axis=0)

    difference = mean(one, layers) - mean(other, other_layers or layers)
    low, high = percentile_interval(difference[1:])
    return float(difference[0]), float(low), float(high)


def learning_curve(
    features: Mapping[str, np.ndarray],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    shares: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    folds: int = 5,
    seed: int = 0,
    description: str = "learning curve",
) -> pd.DataFrame:
    """Score regressions that see only a share of the training groups.

    Parameters
    ----------
    features, measures, groups, folds, description
        As in `regress`.
    shares : sequence of float
        Shares of the training groups, in (0, 1]; at least two groups are kept.
    seed : int
        Seed of folds and of the order in which groups are added.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``share``, ``patches`` and ``groups`` (mean numbers in the
        training parts) and ``r2``, held out on the same patches for every share. With fewer than
        four groups the penalty is chosen over as many inner folds as there are groups.
    """
    targets = concept_targets(measures)
    codes = fold_codes(groups, folds, len(targets))
    generator = np.random.default_rng(seed)
    split = GroupKFold(folds, shuffle=True, random_state=seed).split(targets, groups=codes)
    splits: dict[float, list] = {share: [] for share in shares}
    for train, test in split:
        order = generator.permutation(np.unique(codes[train]))
        for share in shares:
            kept = order[: max(2, round(share * len(order)))]
            splits[share].append((train[np.isin(codes[train], kept)], test))
    tables = []
    for layer, x in progress_bar(features.items(), desc=description, unit="layer"):
        for share, parts in splits.items():
            table = {"layer": layer, "concept": list(measures), "share": share}
            table["patches"] = np.mean([len(train) for train, _ in parts])
            table["groups"] = np.mean([len(np.unique(codes[train])) for train, _ in parts])
            predicted = cross_fit(x, targets, codes, parts).predicted
            table["r2"] = held_out_r2(targets, predicted, codes)
            tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def mean_r2(regression: Regression, codes: np.ndarray) -> np.ndarray:
    """Return held-out R2 of each concept, mean over repeats, ``(T,)``."""
    return _repeated_r2(regression, codes, _every_group_once(codes))[:, 0].mean(axis=0)


def _repeated_r2(regression: Regression, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """R2 by repeat, resample and concept."""
    return np.stack(
        [
            grouped_r2(regression.truth, predicted, codes, counts)
            for predicted in regression.predicted
        ]
    )


def _every_group_once(codes: np.ndarray) -> np.ndarray:
    return np.ones((1, codes.max() + 1))
