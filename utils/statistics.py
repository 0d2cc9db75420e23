"""Intervals and tests over whole groups (regions, patients), whose patches resemble each other."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from scipy.stats import t as student
from sklearn.preprocessing import StandardScaler

LEAST_GROUPS = 6  # with fewer, not even the same sign everywhere has p < 0.05 / 3
FLIPS = 2**16  # of signs, in a test that is not exact
SCALE_FLOOR = 0.1  # of the median standard deviation of a layer's channels


def steady_scaler(x: np.ndarray) -> StandardScaler:
    """Fit a scaler to features, ``(N, C)``, whose scale never falls below `SCALE_FLOOR`."""
    # Some channels respond to a single training patch; divided by their own deviation, a held-out
    # patch would lie hundreds of deviations off.
    scaler = StandardScaler().fit(x)
    deviation = np.sqrt(scaler.var_)
    if (deviation > 0).any():
        floor = SCALE_FLOOR * np.median(deviation[deviation > 0])
        scaler.scale_ = np.maximum(scaler.scale_, floor)
    return scaler


def intervals(
    table: pd.DataFrame, by: Sequence[str], measures: Sequence[str], *, level: float = 0.95
) -> pd.DataFrame:
    """Average measures over groups, each of which counts once, with intervals.

    Parameters
    ----------
    table : DataFrame
        One row per patch, with a column ``group``; missing values of a measure are left out.
    by, measures : sequence of str
        Columns whose combinations are averaged separately (may be empty), and columns to average.
    level : float
        Level of the intervals, from Student's distribution over the means of groups.

    Returns
    -------
    DataFrame
        Columns `by`, ``measure``, ``mean`` (of the groups' means), ``low``, ``high`` (NaN for a
        single group), ``n`` (patches) and ``groups``.
    """
    rows = []
    subsets = table.groupby(list(by), sort=False) if len(by) else [((), table)]
    for (key, subset), measure in product(subsets, measures):
        known = subset.dropna(subset=measure)
        of_groups = known[measure].astype(float).groupby(known["group"]).mean()
        low, high = mean_interval(of_groups.to_numpy(), level)
        rows.append((*key, measure, of_groups.mean(), low, high, len(known), len(of_groups)))
    return pd.DataFrame(rows, columns=[*by, "measure", "mean", "low", "high", "n", "groups"])


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student's interval of a mean of independent values, (G,); NaN for fewer than two."""
    if len(values) < 2:
        return np.nan, np.nan
    quantile = student.ppf((1 + level) / 2, len(values) - 1)
    reach = quantile * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values) - reach), float(np.mean(values) + reach)


def percentile_interval(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the central range of values, ``(n, ...)``, without NaN, (2, ...)."""
    if not len(values):
        return np.full((2, *values.shape[1:]), np.nan)
    tail = round(50 * (1 - level), 10)  # 2.5 exactly
    return np.nanpercentile(values, [tail, 100 - tail], axis=0)


def leave_one_out(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups from 0, (N,), and weigh their patches, (1 + G, G).

    The first row has all groups, each of the others leaves one out. The patches of a group have
    together the weight 1, so that large groups do not count more.
    """
    names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    kept = np.vstack([np.ones(len(names)), 1 - np.eye(len(names))])
    return codes, kept / sizes


def jackknife_interval(
    values: np.ndarray, level: float = 0.95, strata: np.ndarray | None = None
) -> np.ndarray:
    """Interval of a statistic, (2, ...), from its values with `leave_one_out`, (1 + G, ...).

    With the stratum (such as the image) of each group, (G,), what strata have in common does not
    widen it; NaN where a stratum has a single group.
    """
    whole, left_out = values[0], values[1:]
    strata = np.zeros(len(left_out)) if strata is None else strata
    names, sizes = np.unique(strata, return_counts=True)
    if len(left_out) < 2 or sizes.min() < 2:
        return np.full((2, *whole.shape), np.nan)
    squares = [jackknife_error(left_out[strata == name]) ** 2 for name in names]
    freedom = len(left_out) - len(names)
    reach = student.ppf((1 + level) / 2, freedom) * np.sqrt(np.sum(squares, axis=0))
    return np.stack([whole - reach, whole + reach])


def jackknife_error(left_out: np.ndarray) -> np.ndarray:
    """Return the standard error of a statistic from its values with one group left out each."""
    return np.sqrt((len(left_out) - 1) * np.var(left_out, axis=0))


def centred(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Subtract the mean of its stratum from each row of values, ``(N, ...)``."""
    codes = np.unique(strata, return_inverse=True)[1]
    sums = np.zeros((codes.max() + 1, *values.shape[1:]))
    np.add.at(sums, codes, values)
    return values - (sums.T / np.bincount(codes)).T[codes]


def group_sums(values: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum values, ``(N, ...)``, over weighted groups, one sum per row of the weights."""
    total = np.zeros((weights.shape[1], *values.shape[1:]))
    np.add.at(total, codes, values)
    return weights @ total


def grouped_r2(
    truth: np.ndarray, predicted: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Compute R2 over weighted groups, one row per row of the weights, ``(rows, T)``."""
    shifted = truth - truth.mean(axis=0)
    count = group_sums(np.ones((len(truth), 1)), codes, weights)
    total = group_sums(shifted**2, codes, weights)
    with np.errstate(invalid="ignore"):  # without its only group, a set has no patches
        total -= group_sums(shifted, codes, weights) ** 2 / count
    # Without any variance R2 is undefined.
    everything = group_sums(shifted**2, codes, weights[:1])
    total = np.where(total > 1e-12 * everything, total, np.nan)
    return 1 - group_sums((truth - predicted) ** 2, codes, weights) / total


def mean_over_deviation(
    values: np.ndarray, codes: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return mean over standard deviation, by default of all values alike, 0 where constant."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    if weights is not None:
        count = group_sums(np.ones((len(values), 1)), codes, weights)
        mean = group_sums(values, codes, weights) / count
        variance = group_sums(values**2, codes, weights) / count - mean**2
        deviation = np.sqrt(np.maximum(variance, 0))
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0)


def sign_flip_p(differences: np.ndarray) -> float:
    """One-sided p of paired differences of groups, (G,): how often flipped signs reach their mean.

    Exact where all combinations of signs are at most `FLIPS`, else by as many draws.
    """
    return float(max_t_p(np.asarray(differences)[:, None])[0])


def max_t_p(differences: np.ndarray) -> np.ndarray:
    """One-sided p of paired differences of groups, ``(G, T)``, adjusted for T tests, (T,).

    How often the largest t of all tests, of the same flipped signs, reaches that of each (Westfall
    and Young 1993); of one test, this is the sign-flip test of its mean.
    """
    groups = len(differences)
    if groups < LEAST_GROUPS:
        raise ValueError(
            f"{groups} groups cannot reject anything: expected at least {LEAST_GROUPS}."
        )
    if 2**groups <= FLIPS:
        signs = np.array(list(product((1.0, -1.0), repeat=groups)))
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), (FLIPS, groups))
        signs[0] = 1  # the observed ones belong to the draws
    # The squares do not change with the signs, so t rises with the mean over their root.
    size = np.sqrt((differences**2).mean(axis=0))
    t = signs @ differences / (groups * np.where(size > 0, size, 1))
    return (t.max(axis=1)[:, None] >= t[0] - 1e-9).mean(axis=0)


def permutation_p_value(value: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return the share of a null, ``(permutations, T)``, and the value that reach the value."""
    if not len(null):
        return np.full_like(value, np.nan)
    return (1 + (null >= value).sum(axis=0)) / (1 + len(null))


def with_false_discovery_rate(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Add a q to each column of p (Benjamini and Hochberg 1995); NaN stays NaN."""
    for column in columns:
        known = table[column].dropna()
        q = pd.Series(false_discovery_control(known) if len(known) else [], known.index, float)
        table["q" + column[1:]] = q
    return table
