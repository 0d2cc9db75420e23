"""Whether the output of a network depends on what can be read from its layers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from utils.concepts.regression import Regression
from utils.concepts.scoring import repeated_r2
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
    """Say whether the output depends on the concepts (Graziani et al. 2018).

    Parameters
    ----------
    regressions : mapping of str to Regression
        From `regress` with `gradients`.
    gradients : mapping of str to array, (N, C)
    groups : array, (N,)
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
        share of patches with s > 0), ``p_random`` and ``p_shuffled`` (two-sided: how often random
        directions, or vectors of the shuffled concept, have as large a ratio) and, with
        the false discovery rate controlled over all rows, ``q_random`` and ``q_shuffled``. Where
        the logit is linear in the layer, all patches have one sensitivity and no ratio: NaN.
    """
    codes = group_codes(groups)
    counts = resample_groups(codes, resamples, seed)
    generator = np.random.default_rng(seed)
    rows = []
    for layer, found in regressions.items():
        if found.sensitivity is None:
            raise ValueError(f"{layer} was regressed without gradients: give them to regress.")
        s = found.sensitivity
        r2 = repeated_r2(found, codes, np.ones((1, codes.max() + 1)))[:, 0].mean(axis=0)
        slopes = gradients[layer]
        # As RCVs are: any direction of standardised features, mapped back to the features' units.
        random = generator.normal(size=(slopes.shape[1], directions)) / found.scale[:, None]
        random = mean_over_deviation(slopes @ (random / np.linalg.norm(random, axis=0)))
        positive = (s > 0).mean(axis=0)
        ratio = low = high = br = p_random = p_shuffled = np.full(len(r2), np.nan)
        if np.ptp(slopes, axis=0).max() > 1e-4 * np.abs(slopes).max():
            ratio = mean_over_deviation(s)
            resampled = grouped_mean_over_deviation(s, codes, counts)
            low, high = percentile_interval(resampled)
            br = np.maximum(r2, 0) * ratio
            p_random = permutation_p_value(np.abs(ratio), np.abs(random)[:, None])
            if len(found.null_ratio):
                p_shuffled = permutation_p_value(np.abs(ratio), np.abs(found.null_ratio))
        columns = (r2, ratio, low, high, br, positive, p_random, p_shuffled)
        rows += zip([layer] * len(r2), found.concepts, *columns, strict=True)
    names = ["layer", "concept", "r2", "ratio", "low", "high", "br", "positive"]
    table = pd.DataFrame(rows, columns=[*names, "p_random", "p_shuffled"])
    return with_false_discovery_rate(table, "p_random", "p_shuffled")
