"""How well concepts are predicted, in-sample and held out, and whether the output needs them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from utils.concepts.regression import Regression, concept_targets, regress
from utils.progress import progress_bar
from utils.statistics import (
    grouped_mean_over_deviation,
    mean_over_deviation,
    percentile_interval,
    permutation_p_value,
    resample_groups,
    with_false_discovery_rate,
)

Layers = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Analysis:
    """Tables with columns ``network`` and ``seed``, and regressions by network and layer."""

    in_sample: pd.DataFrame
    held_out: pd.DataFrame
    relevance: pd.DataFrame  # of the networks with gradients
    regressions: dict[str, dict[str, Regression]]
    known: np.ndarray  # (N,), bool: patches with all measures; the others are left out


def analyse(
    features: Mapping[str, Layers],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    gradients: Mapping[str, Layers] | None = None,
    folds: int = 5,
    repeats: int = 2,
    permutations: int = 200,
    seed: int = 0,
    once: Callable = lambda function, *arguments, **options: function(*arguments, **options),
) -> Analysis:
    """Regress concepts on the features of several networks, and compute their relevance.

    Parameters
    ----------
    features : mapping of str to (mapping of str to array, (N, C))
        Features by network and layer. ``random 2`` is the network ``random`` with the seed 1.
    measures : DataFrame, N rows
        One column per concept. Patches without a value (NaN) are left out.
    groups : array, (N,)
        Group of each patch.
    gradients : mapping of str to (mapping of str to array, (N, C)), optional
        Gradients of the logit, for the networks whose relevance is computed.
    folds, repeats, permutations, seed
        As in `regress`.
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.

    Returns
    -------
    Analysis
        Tables ``in_sample``, ``held_out`` and ``relevance`` (see `in_sample_r2`, `r2_table` and
        `relevance`), ``regressions`` by network and layer, and the mask ``known`` of patches used.
    """
    known = measures.notna().all(axis=1).to_numpy()
    measures, groups = measures[known], groups[known]
    features, gradients = (
        {name: {layer: x[known] for layer, x in layers.items()} for name, layers in given.items()}
        for given in (features, gradients or {})
    )
    in_sample = {name: once(in_sample_r2, x, measures) for name, x in features.items()}
    options = {"folds": folds, "repeats": repeats, "permutations": permutations, "seed": seed}
    regressions = {}
    for name, x in features.items():
        options |= {"gradients": gradients.get(name), "description": f"regression, {name}"}
        regressions[name] = once(regress, x, measures, groups, **options)
    held_out = {name: once(r2_table, r, groups, seed=seed) for name, r in regressions.items()}
    relevances = {
        name: once(relevance, regressions[name], slopes, groups, seed=seed)
        for name, slopes in gradients.items()
    }
    tables = (_concatenate(by_network) for by_network in (in_sample, held_out, relevances))
    return Analysis(*tables, regressions, known)


def in_sample_r2(features: Mapping[str, np.ndarray], measures: pd.DataFrame) -> pd.DataFrame:
    """Fit ordinary least squares and score it on the same patches, as the paper does.

    With at least as many features as patches ``r2`` is 1 for any target, even noise, and
    ``adjusted_r2`` is NaN.
    """
    targets = concept_targets(features, measures)
    tables = []
    for layer, x in progress_bar(features.items(), desc="in-sample", unit="layer"):
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
    """Score the predictions of `regress`.

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
    """Score held-out predictions by layer and concept, those of all folds together.

    ``r2`` is the mean over repeats, negative for predictions that are worse than the mean; ``low``
    to ``high`` is its 95 % interval over groups, ``null_low`` to ``null_high`` the 95 % range of R2
    for permuted groups, ``p`` is one-sided, from the permutations, and ``q`` the same with the
    false discovery rate controlled over all rows.
    """
    codes, counts = resample_groups(groups, resamples, seed)
    tables = []
    for layer, regression in regressions.items():
        by_repeat, null = regression.r2(codes)[:, 0], regression.null_r2
        table = {"layer": layer, "concept": regression.concepts, "r2": by_repeat.mean(axis=0)}
        table["low"], table["high"] = percentile_interval(regression.r2(codes, counts).mean(axis=0))
        table["sd_over_repeats"] = by_repeat.std(axis=0, ddof=1) if len(by_repeat) > 1 else np.nan
        table |= dict.fromkeys(("null_low", "null_high", "p"), np.nan)
        if len(null):
            table["null_low"], table["null_high"] = percentile_interval(null)
            table["p"] = permutation_p_value(by_repeat[0], null)
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
    codes, counts = resample_groups(groups, resamples, seed)
    counts = np.vstack([np.ones(counts.shape[1]), counts])

    def mean(regressions: Mapping[str, Regression], names: Sequence[str]) -> np.ndarray:
        return np.mean([regressions[n].r2(codes, counts).mean(axis=(0, 2)) for n in names], axis=0)

    difference = mean(one, layers) - mean(other, other_layers or layers)
    low, high = percentile_interval(difference[1:])
    return float(difference[0]), float(low), float(high)


def relevance(
    regressions: Mapping[str, Regression],
    gradients: Mapping[str, np.ndarray],
    groups: np.ndarray,
    *,
    directions: int = 500,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether the output depends on the concepts (Graziani et al. 2018), by layer and concept.

    ``ratio`` is mean over standard deviation of the sensitivities s, ``low`` to ``high`` its 95 %
    interval over groups, ``br`` the bidirectional relevance R2 * mean(s) / std(s), with R2 no less
    than 0, and ``positive`` the share of patches with s > 0. ``p_random`` and ``p_permuted`` are
    two-sided: how often random directions, or vectors of the permuted concept, have as large a
    ratio; each ``q`` controls the false discovery rate over all rows. NaN where the logit is linear
    in the layer: all patches have one sensitivity, and no ratio.
    """
    codes, counts = resample_groups(groups, resamples, seed)
    generator = np.random.default_rng(seed)
    tables = []
    for layer, regression in regressions.items():
        s, slopes = regression.sensitivity, gradients[layer]
        if s is None:
            raise ValueError(f"{layer} was regressed without gradients: give them to regress.")
        # As with RCVs: any direction of standardised features, mapped back to the features' units.
        random = generator.normal(size=(slopes.shape[1], directions)) / regression.scale[:, None]
        random = mean_over_deviation(slopes @ (random / np.linalg.norm(random, axis=0)))
        r2 = regression.r2(codes)[:, 0].mean(axis=0)
        table = {"layer": layer, "concept": regression.concepts, "r2": r2}
        table |= dict.fromkeys(("ratio", "low", "high", "br"), np.nan)
        table |= {"positive": (s > 0).mean(axis=0), "p_random": np.nan, "p_permuted": np.nan}
        if np.ptp(slopes, axis=0).max() > 1e-4 * np.abs(slopes).max():
            ratio, null = mean_over_deviation(s), regression.null_ratio
            resampled = grouped_mean_over_deviation(s, codes, counts)
            table["low"], table["high"] = percentile_interval(resampled)
            table["ratio"], table["br"] = ratio, np.maximum(r2, 0) * ratio
            table["p_random"] = permutation_p_value(np.abs(ratio), np.abs(random)[:, None])
            if len(null):
                table["p_permuted"] = permutation_p_value(np.abs(ratio), np.abs(null))
        tables.append(pd.DataFrame(table))
    table = pd.concat(tables, ignore_index=True)
    return with_false_discovery_rate(table, "p_random", "p_permuted")


def _concatenate(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Stack tables by name of network, with the columns ``network`` and ``seed``."""
    stacked = [pd.DataFrame(columns=["network", "seed"])] if not tables else []
    for name, table in tables.items():
        network, _, number = name.partition(" ")
        stacked.append(table.assign(network=network, seed=int(number or 1) - 1))
    return pd.concat(stacked)
