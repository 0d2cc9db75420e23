"""How well concepts are predicted: R2 in-sample, held out, by number of patches."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
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

    With as many features as patches this is 1 for anything, noise included; it is here to be
    compared with `cross_validated_r2`.

    Parameters
    ----------
    features : mapping of str to array, (N, C)
        By layer.
    measures : DataFrame, N rows
        One column per concept.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``r2`` and ``adjusted_r2``, which is NaN where there are
        not more patches than features.
    """
    targets = concept_targets(measures)
    rows = []
    for layer, x in progress_bar(features.items(), desc="in-sample", unit="layer"):
        check_rows(layer, x, targets)
        scaled = StandardScaler().fit_transform(x.astype(np.float64))
        fit = LinearRegression().fit(scaled, targets)
        r2 = 1 - ((targets - fit.predict(scaled)) ** 2).sum(axis=0) / _spread(targets)
        left = len(x) - fit.rank_ - 1
        adjusted = 1 - (1 - r2) * (len(x) - 1) / left if left > 0 else np.full(len(r2), np.nan)
        rows += zip([layer] * len(r2), measures, r2, adjusted, strict=True)
    return pd.DataFrame(rows, columns=["layer", "concept", "r2", "adjusted_r2"])


def cross_validated_r2(
    features: Mapping[str, np.ndarray], measures: pd.DataFrame, groups: np.ndarray, **options
) -> pd.DataFrame:
    """Score the predictions of `regress`, which takes the same arguments.

    Parameters
    ----------
    features, measures, groups, **options
        See `regress`.

    Returns
    -------
    DataFrame
        See `r2_table`.
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
        From `regress`.
    groups : array, (N,)
        As given there.
    resamples : int
        Resamples of the groups, for the interval.
    seed : int
        Seed of the resampling.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``r2`` (mean over repeats), ``low`` and ``high`` (95 %
        interval over groups), ``sd_over_repeats``, ``null_low`` and ``null_high`` (95 % range of
        the shuffled concept's R2), ``p`` (one-sided, from the shuffles) and ``q`` (the same, with
        the false discovery rate controlled over the rows, Benjamini and Hochberg 1995).
    """
    codes = group_codes(groups)
    counts = resample_groups(codes, resamples, seed)
    rows = []
    for layer, found in regressions.items():
        once = repeated_r2(found, codes, np.ones((1, codes.max() + 1)))[:, 0]
        spread = repeated_r2(found, codes, counts).mean(axis=0)
        r2, (low, high) = once.mean(axis=0), percentile_interval(spread)
        deviation = once.std(axis=0, ddof=1) if len(once) > 1 else np.full(len(r2), np.nan)
        null = np.full((2, len(r2)), np.nan)
        p = np.full(len(r2), np.nan)
        if len(found.null_r2):
            null = percentile_interval(found.null_r2)
            p = permutation_p_value(once[0], found.null_r2)
        columns = ([layer] * len(r2), found.concepts, r2, low, high, deviation, *null, p)
        rows += zip(*columns, strict=True)
    names = ["layer", "concept", "r2", "low", "high", "sd_over_repeats", "null_low", "null_high"]
    return with_false_discovery_rate(pd.DataFrame(rows, columns=[*names, "p"]), "p")


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
    """Compare mean held-out R2 over concepts and layers, on the same resamples of groups.

    Parameters
    ----------
    one, other : mapping of str to Regression
        Regressions of the same patches and concepts, by layer.
    groups : array, (N,)
    layers, other_layers : sequence of str
        Whose R2 are averaged; by default the same of both.
    resamples : int
        Resamples of the groups.
    seed : int
        Seed of the resampling.

    Returns
    -------
    difference, low, high : float
        `one` minus `other`, with its 95 % interval.
    """
    codes = group_codes(groups)
    counts = np.vstack([np.ones(codes.max() + 1), resample_groups(codes, resamples, seed)])

    def mean(found: Mapping[str, Regression], names: Sequence[str]) -> np.ndarray:
        parts = [repeated_r2(found[name], codes, counts).mean(axis=(0, 2)) for name in names]
        return np.mean(parts, axis=0)

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
    features, measures, groups, folds
        As in `regress`.
    shares : sequence of float
        Shares of the training groups, in (0, 1]. At least two groups are kept, whatever the share.
    seed : int
        Seed of folds and of the order in which groups are added.
    description : str
        Label of the progress bar.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``share``, ``patches`` and ``groups`` (mean numbers trained
        on) and ``r2``, held out on the same patches for every share. With fewer than four groups
        the penalty is chosen over as many inner folds as there are groups.
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
    rows = []
    for layer, x in progress_bar(features.items(), desc=description, unit="layer"):
        for share, parts in splits.items():
            predicted = cross_fit(x.astype(np.float64), targets, codes, parts).predicted
            r2 = held_out_r2(targets, predicted, codes)
            patches = np.mean([len(train) for train, _ in parts])
            count = np.mean([len(np.unique(codes[train])) for train, _ in parts])
            where = zip(measures, r2, strict=True)
            rows += [(layer, concept, share, patches, count, value) for concept, value in where]
    return pd.DataFrame(rows, columns=["layer", "concept", "share", "patches", "groups", "r2"])


def repeated_r2(found: Regression, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """R2 by repeat, draw and concept."""
    return np.stack([grouped_r2(found.truth, part, codes, counts) for part in found.predicted])


def _spread(targets: np.ndarray) -> np.ndarray:
    return ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
