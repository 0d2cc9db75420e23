"""Intervals and tests over whole groups (regions, patients), whose patches resemble each other."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, permutation_test
from sklearn.preprocessing import StandardScaler

LEAST_GROUPS = 6  # with fewer, not even the same sign everywhere has p < 0.05 / 3
RESAMPLES = 2**16  # of a test that is not exact
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
    table: pd.DataFrame, by: Sequence[str], measures: Sequence[str], **options
) -> pd.DataFrame:
    """Average measures, with bootstrap intervals over whole groups.

    Parameters
    ----------
    table : DataFrame
        One row per patch, with a column ``group``; missing values of a measure are left out.
    by, measures : sequence of str
        Columns whose combinations are averaged separately (may be empty), and columns to average.
    **options
        ``level``, ``resamples`` and ``seed``, as in `mean_interval`.

    Returns
    -------
    DataFrame
        Columns `by`, ``measure``, ``mean``, ``low``, ``high`` (NaN for a single group), ``n``
        (patches) and ``groups``.
    """
    rows = []
    parts = table.groupby(list(by), sort=False) if len(by) else [((), table)]
    for (key, subset), measure in product(parts, measures):
        known = subset.dropna(subset=measure)
        values = known[measure].astype(float)
        interval = mean_interval(values.to_numpy(), known["group"], **options)
        numbers = len(known), known["group"].nunique()
        rows.append((*key, measure, values.mean(), *interval, *numbers))
    return pd.DataFrame(rows, columns=[*by, "measure", "mean", "low", "high", "n", "groups"])


def mean_interval(
    values: np.ndarray,
    groups: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute the bootstrap interval of a mean over groups; NaN for fewer than two groups."""
    if len(np.unique(groups)) < 2:
        return np.nan, np.nan
    codes, counts = resample_groups(groups, resamples, seed)
    totals = group_sums(np.stack([values, np.ones(len(values))], axis=1), codes, counts)
    low, high = percentile_interval(totals[:, 0] / totals[:, 1], level)
    return float(low), float(high)


def percentile_interval(resampled: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the central interval of statistics, ``(resamples, ...)``, without NaN, (2, ...)."""
    if not len(resampled):
        return np.full((2, *resampled.shape[1:]), np.nan)
    tail = round(50 * (1 - level), 10)  # 2.5 exactly
    return np.nanpercentile(resampled, [tail, 100 - tail], axis=0)


def resample_groups(groups: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups from 0, ``(N,)``, and count each per resample, ``(resamples, G)``."""
    names, codes = np.unique(groups, return_inverse=True)
    shares = np.full(len(names), 1 / len(names))
    return codes, np.random.default_rng(seed).multinomial(len(names), shares, size=resamples)


def group_sums(values: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum values, ``(N, ...)``, over the groups of each resample, ``(resamples, ...)``."""
    total = np.zeros((counts.shape[1], *values.shape[1:]))
    np.add.at(total, codes, values)
    return counts @ total


def grouped_r2(
    truth: np.ndarray, predicted: np.ndarray, codes: np.ndarray, counts: np.ndarray | None = None
) -> np.ndarray:
    """Compute R2 over the groups of each resample, ``(resamples, T)``; by default of all, once."""
    counts = np.ones((1, codes.max() + 1)) if counts is None else counts
    centred = truth - truth.mean(axis=0)
    count = group_sums(np.ones((len(truth), 1)), codes, counts)
    total = group_sums(centred**2, codes, counts) - group_sums(centred, codes, counts) ** 2 / count
    # Without any variance in a resample R2 is undefined.
    total = np.where(total > 1e-12 * (centred**2).sum(axis=0), total, np.nan)
    return 1 - group_sums((truth - predicted) ** 2, codes, counts) / total


def mean_over_deviation(
    values: np.ndarray, codes: np.ndarray | None = None, counts: np.ndarray | None = None
) -> np.ndarray:
    """Return mean over standard deviation, by default of all values once, 0 where constant."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    if counts is not None:
        count = group_sums(np.ones((len(values), 1)), codes, counts)
        mean = group_sums(values, codes, counts) / count
        variance = group_sums(values**2, codes, counts) / count - mean**2
        deviation = np.sqrt(np.maximum(variance, 0))
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0)


def sign_flip_p(differences: np.ndarray) -> float:
    """One-sided p of paired differences of groups, (G,): how often flipped signs reach their mean.

    Exact where all combinations of signs are fewer than `RESAMPLES`, else by as many draws.
    """
    if len(differences) < LEAST_GROUPS:
        raise ValueError(
            f"{len(differences)} groups cannot reject anything: expected at least {LEAST_GROUPS}."
        )
    options = {"permutation_type": "samples", "alternative": "greater", "rng": 0}
    count = min(2 ** len(differences), RESAMPLES)
    test = permutation_test((differences,), np.mean, n_resamples=count, **options)
    return float(test.pvalue)


def jackknife_error(left_out: Sequence[float]) -> float:
    """Return the standard error of a statistic from its values with one group left out each."""
    return float(np.sqrt((len(left_out) - 1) * np.var(left_out)))


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
