"""Whether the output of a network depends on what can be read from its layers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from utils.concepts.regression import Regression
from utils.concepts.scoring import mean_r2
from utils.statistics import (
    group_codes,
    grouped_mean_over_deviation,
    mean_over_deviation,
    percentile_interval,
    permutation_p_value,
    resample_groups,
    with_false_discovery_rate,
)


def relevance(
    regressions: Mapping[str, Regression],
    gradients: Mapping[str, np.ndarray],
    groups: np.ndarray,
    *,
    directions: int = 500,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether the output depends on the concepts (Graziani et al. 2018).

    Parameters
    ----------
    regressions : mapping of str to Regression
        Regressions by layer, from `regress` with `gradients`.
    gradients : mapping of str to array, (N, C)
        The same gradients.
    groups : array, (N,)
        Group of each patch.
    directions : int
        Random unit vectors per layer.
    resamples : int
        Resamples of the groups, for the interval.
    seed : int
        Seed of the resampling and of the directions.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``r2`` (held out), ``ratio`` (mean over standard deviation
        of the sensitivities s), its 95 % interval ``low`` to ``high`` over groups, ``br`` (the
        bidirectional relevance R2 * mean(s) / std(s), with R2 no less than 0), ``positive`` (the
        share of patches with s > 0), ``p_random`` and ``p_permuted`` (two-sided: how often random
        directions, or vectors of the permuted concept, have as large a ratio), and ``q_random`` and
        ``q_permuted``, which control the false discovery rate over all rows. NaN where the logit is
        linear in the layer: all patches have one sensitivity, and no ratio.
    """
    codes = group_codes(groups)
    counts = resample_groups(codes, resamples, seed)
    generator = np.random.default_rng(seed)
    tables = []
    for layer, regression in regressions.items():
        s, slopes = regression.sensitivity, gradients[layer]
        if s is None:
            raise ValueError(f"{layer} was regressed without gradients: give them to regress.")
        # As with RCVs: any direction of standardised features, mapped back to the features' units.
        random = generator.normal(size=(slopes.shape[1], directions)) / regression.scale[:, None]
        random = mean_over_deviation(slopes @ (random / np.linalg.norm(random, axis=0)))
        r2 = mean_r2(regression, codes)
        table = {"layer": layer, "concept": regression.concepts, "r2": r2}
        table |= dict.fromkeys(("ratio", "low", "high", "br"), np.nan)
        table |= {"positive": (s > 0).mean(axis=0), "p_random": np.nan, "p_permuted": np.nan}
        if np.ptp(slopes, axis=0).max() > 1e-4 * np.abs(slopes).max():
            ratio = mean_over_deviation(s)
            resampled = grouped_mean_over_deviation(s, codes, counts)
            table["low"], table["high"] = percentile_interval(resampled)
            table["ratio"], table["br"] = ratio, np.maximum(r2, 0) * ratio
            table["p_random"] = permutation_p_value(np.abs(ratio), np.abs(random)[:, None])
            if len(regression.null_ratio):
                null = np.abs(regression.null_ratio)
                table["p_permuted"] = permutation_p_value(np.abs(ratio), null)
        tables.append(pd.DataFrame(table))
    table = pd.concat(tables, ignore_index=True)
    return with_false_discovery_rate(table, "p_random", "p_permuted")
