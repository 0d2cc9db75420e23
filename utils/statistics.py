"""Resampling of whole groups, intervals, permutation tests and false discovery rates."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, false_discovery_control
from sklearn.preprocessing import StandardScaler

SCALE_FLOOR = 0.1  # of the median standard deviation of a layer's channels


def steady_scaler(x: np.ndarray) -> StandardScaler:
    """Fit a scaler that divides channels which hardly vary by no less than `SCALE_FLOOR`.

    Some channels answer to one training patch only; divided by their own deviation, a held-out
    patch would lie hundreds of deviations off.

    Parameters
    ----------
    x : array, (N, C), float64
    """
    scaler = StandardScaler().fit(x)
    deviation = np.sqrt(scaler.var_)
    if (deviation > 0).any():
        floor = SCALE_FLOOR * np.median(deviation[deviation > 0])
        scaler.scale_ = np.maximum(scaler.scale_, floor)
    return scaler


def intervals(
    table: pd.DataFrame,
    by: Sequence[str],
    measures: Sequence[str],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average measures, with bootstrap intervals that resample whole groups.

    Parameters
    ----------
    table : DataFrame
        A row a patch, with a column ``group``; rows without a measure's value are left out.
    by : sequence of str
        Columns whose combinations are averaged apart; may be empty.
    measures : sequence of str
        Columns to average.
    resamples, seed : int
        Of the bootstrap.
    level : float
        Of the intervals, in (0, 1).

    Returns
    -------
    DataFrame
        Columns `by`, ``measure``, ``mean``, ``low``, ``high`` (NaN for a single group), ``n``
        (patches) and ``groups``.
    """
    rows = []
    parts = table.groupby(list(by), sort=False) if len(by) else [((), table)]
    for key, part in parts:
        for measure in measures:
            known = part.dropna(subset=measure)
            totals = known.groupby("group")[measure].agg(["sum", "count"])
            low = high = np.nan
            if len(totals) > 1:
                low, high = bootstrap(
                    (totals["sum"].to_numpy(float), totals["count"].to_numpy(float)),
                    lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
                    paired=True,
                    method="percentile",
                    n_resamples=resamples,
                    confidence_level=level,
                    rng=np.random.default_rng(seed),
                ).confidence_interval
            rows.append((*key, measure, known[measure].mean(), low, high, len(known), len(totals)))
    return pd.DataFrame(rows, columns=[*by, "measure", "mean", "low", "high", "n", "groups"])


def group_counts(codes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """How often each draw has each group: (draws, groups)."""
    groups = codes.max() + 1
    generator = np.random.default_rng(seed)
    return generator.multinomial(groups, np.full(groups, 1 / groups), size=count)


def group_sums(values: np.ndarray, codes: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Sum values, ``(N, ...)``, with each group as often as each draw has it: (draws, ...)."""
    total = np.zeros((draws.shape[1], *values.shape[1:]))
    np.add.at(total, codes, values)
    return draws @ total


def grouped_r2(
    truth: np.ndarray, predicted: np.ndarray, codes: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """R2 with every group counted as often as each draw has it: (draws, targets)."""
    centred = truth - truth.mean(axis=0)
    count = group_sums(np.ones((len(truth), 1)), codes, draws)
    total = group_sums(centred**2, codes, draws) - group_sums(centred, codes, draws) ** 2 / count
    total = np.where(total > 1e-12 * (centred**2).sum(axis=0), total, np.nan)  # all alike: no R2
    return 1 - group_sums((truth - predicted) ** 2, codes, draws) / total


def mean_over_deviation(sensitivity: np.ndarray) -> np.ndarray:
    """Return mean over standard deviation of each column, 0 where it is constant."""
    deviation = sensitivity.std(axis=0)
    mean = sensitivity.mean(axis=0)
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0)


def grouped_mean_over_deviation(
    sensitivity: np.ndarray, codes: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Return `mean_over_deviation` with each group as often as each draw has it."""
    count = group_sums(np.ones((len(sensitivity), 1)), codes, draws)
    mean = group_sums(sensitivity, codes, draws) / count
    variance = np.maximum(group_sums(sensitivity**2, codes, draws) / count - mean**2, 0)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0)


def permutation_p_value(found: np.ndarray, null: np.ndarray) -> np.ndarray:
    """How often the null, (draws, T), is no less than what was found, which counts as a draw."""
    return (1 + (null >= found).sum(axis=0)) / (1 + len(null))


def with_false_discovery_rate(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Add a q to each column of p (Benjamini and Hochberg 1995)."""
    for column in columns:
        known = table[column].notna()
        values = np.full(len(table), np.nan)
        if known.any():
            values[known] = false_discovery_control(table.loc[known, column])
        table["q" + column[1:]] = values
    return table
