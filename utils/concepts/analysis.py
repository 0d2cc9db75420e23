"""How well concepts are predicted, in-sample and held out, and whether the output needs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from utils.concepts.folds import Folds, OfFolds
from utils.concepts.regression import Regression, concept_targets, regress
from utils.once import Once, directly
from utils.progress import progress_bar
from utils.statistics import (
    jackknife_interval,
    leave_one_out,
    mean_interval,
    mean_over_deviation,
    percentile_interval,
    permutation_p_value,
    with_false_discovery_rate,
)

Layers = Mapping[str, OfFolds]


@dataclass(frozen=True)
class Analysis:
    """Tables with columns ``network`` and ``seed``, and regressions by network and layer."""

    in_sample: pd.DataFrame
    held_out: pd.DataFrame
    relevance: pd.DataFrame  # of the networks with gradients
    baselines: pd.DataFrame  # held-out R2 from other features, by their name as layer
    regressions: dict[str, dict[str, Regression]]
    known: np.ndarray  # (N,), bool: patches with all measures; the others are left out


def analyse(
    features: Mapping[str, Layers],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    gradients: Mapping[str, Layers],
    baselines: Layers | None = None,
    splits: Folds | None = None,
    once: Once = directly,
    **options,
) -> Analysis:
    """Regress concepts on the features of several networks, and compute their relevance.

    Parameters
    ----------
    features : mapping of str to (mapping of str to array, (N, C), or to a sequence of them)
        Features by network and layer, as in `regress`. ``random 2`` is the network ``random`` with
        the seed 1.
    measures, groups, splits
        As in `regress`. Patches without a measure (NaN) are left out.
    gradients : as `features`
        Gradients of the logit, for the networks whose relevance is computed.
    baselines : mapping of str to array, (N, F), optional
        Other features, such as mean colours, from which the concepts are regressed too.
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.
    **options
        ``images``, ``classes``, ``folds``, ``repeats``, ``permutations`` and ``seed``, as in
        `regress`.

    Returns
    -------
    Analysis, with tables from `in_sample_r2`, `r2_table` and `relevance`
    """
    known = measures.notna().all(axis=1).to_numpy()
    measures, groups = measures[known], groups[known]
    options |= {name: options[name][known] for name in ("images", "classes") if name in options}
    if splits:
        place = np.cumsum(known) - 1  # of each known patch, among them
        splits = [tuple(place[side[known[side]]] for side in split) for split in splits]
    in_sample, held_out, relevances, regressions = [], [], [], {}
    for name, layers in features.items():
        network, _, number = name.partition(" ")
        label = {"network": network, "seed": int(number or 1) - 1}
        x, slopes = (
            {layer: _select(values, known) for layer, values in by_layer.items()}
            for by_layer in (layers, gradients.get(name, {}))
        )
        about = {"gradients": slopes, "splits": splits, "description": f"regression, {name}"}
        regressions[name] = once(regress, x, measures, groups, **about, **options)
        in_sample.append(once(in_sample_r2, x, measures).assign(**label))
        held_out.append(once(r2_table, regressions[name]).assign(**label))
        if slopes:
            table = once(relevance, regressions[name])
            relevances.append(table.assign(**label))
    tables = map(pd.concat, (in_sample, held_out, relevances))
    others = {name: values[known] for name, values in (baselines or {}).items()}
    regressed = once(regress, others, measures, groups, splits=splits, **options) if others else {}
    return Analysis(*tables, r2_table(regressed), regressions, known)


def _select(arrays: OfFolds, chosen: np.ndarray) -> OfFolds:
    if isinstance(arrays, np.ndarray):
        return arrays[chosen]
    return [array[chosen] for array in arrays]


def in_sample_r2(features: Layers, measures: pd.DataFrame) -> pd.DataFrame:
    """Fit ordinary least squares and score it on the same patches, as the paper does.

    With at least as many features as patches ``r2`` is 1 for any target, even noise, and
    ``adjusted_r2`` is NaN. Of a layer with the features of several networks, the first are fitted.
    """
    targets = concept_targets(features, measures)
    tables = []
    for layer, x in progress_bar(features.items(), desc="in-sample", unit="layer"):
        x = x if isinstance(x, np.ndarray) else x[0]
        scaled = StandardScaler().fit_transform(x.astype(np.float64))
        fit = LinearRegression().fit(scaled, targets)
        r2 = r2_score(targets, fit.predict(scaled), multioutput="raw_values")
        freedom = len(x) - fit.rank_ - 1
        adjusted = 1 - (1 - r2) * (len(x) - 1) / freedom if freedom > 0 else np.nan
        columns = {"layer": layer, "concept": list(measures), "r2": r2, "adjusted_r2": adjusted}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def cross_validated_r2(
    features: Layers, measures: pd.DataFrame, groups: np.ndarray, **options
) -> pd.DataFrame:
    """Score the predictions of `regress`.

    Parameters
    ----------
    features, measures, groups, **options
        As in `regress`.

    Returns
    -------
    DataFrame, as from `r2_table`
    """
    return r2_table(regress(features, measures, groups, **options))


def r2_table(regressions: Mapping[str, Regression]) -> pd.DataFrame:
    """Score held-out predictions by layer and concept, those of all folds together.

    ``r2`` is the mean over repeats, negative for predictions that are worse than the mean; ``low``
    to ``high`` is its 95 % interval over groups, ``null_low`` to ``null_high`` the 95 % range of R2
    for permuted groups, ``p`` is one-sided, from the permutations, and ``q`` the same with the
    false discovery rate controlled over all rows.
    """
    tables = []
    for layer, regression in regressions.items():
        r2 = regression.r2()
        by_repeat = r2[:, 0]
        low, high = jackknife_interval(r2.mean(axis=0))
        null_low, null_high = percentile_interval(regression.null_r2)
        columns = {
            "layer": layer,
            "concept": regression.concepts,
            "r2": by_repeat.mean(axis=0),
            "low": low,
            "high": high,
            "sd_over_repeats": by_repeat.std(axis=0, ddof=1) if len(by_repeat) > 1 else np.nan,
            "null_low": null_low,
            "null_high": null_high,
            "p": permutation_p_value(by_repeat[0], regression.null_r2),
        }
        tables.append(pd.DataFrame(columns))
    if not tables:
        return pd.DataFrame(columns=["layer", "concept", "r2"])
    return with_false_discovery_rate(pd.concat(tables, ignore_index=True), "p")


def r2_interaction(
    regressions: Mapping[str, Mapping[str, Regression]], early: Sequence[str], deep: Sequence[str]
) -> pd.DataFrame:
    """Compare by how much finetuning changes R2 in deep layers and in early ones.

    Parameters
    ----------
    regressions : mapping of str to (mapping of str to Regression)
        By network and layer: ``pretrained``, ``finetuned``, and ``finetuned 2`` and so on, over
        which R2 is averaged first; of the same patches.
    early, deep : sequence of str
        Layers.

    Returns
    -------
    DataFrame
        ``difference``: finetuned minus pretrained in deep layers, minus the same in early ones,
        mean over concepts; of all groups in the first row, and without one group in each of the
        others, whose name is ``left_out`` and whose image is ``image``.
    """
    one = next(iter(regressions["pretrained"].values()))
    if missing := [name for name in (*early, *deep) if name not in regressions["pretrained"]]:
        known = ", ".join(regressions["pretrained"])
        raise ValueError(f"layers {missing} were not regressed; expected some of {known}.")

    def change(layers: Sequence[str]) -> np.ndarray:
        r2 = {"finetuned": [], "pretrained": []}
        for name, by_layer in regressions.items():
            if (network := name.partition(" ")[0]) in r2:
                r2[network] += [by_layer[layer].r2().mean(axis=(0, 2)) for layer in layers]
        return np.mean(r2["finetuned"], axis=0) - np.mean(r2["pretrained"], axis=0)

    images = pd.Series(one.images).groupby(one.groups).first()
    columns = {"left_out": ["none", *images.index], "image": ["all", *images]}
    return pd.DataFrame({**columns, "difference": change(deep) - change(early)})


def relevance(regressions: Mapping[str, Regression]) -> pd.DataFrame:
    """Test whether the output depends on the concepts (Graziani et al. 2018), by layer and concept.

    ``ratio`` is mean over standard deviation of the sensitivities s, ``low`` to ``high`` its 95 %
    interval over groups, ``br`` the bidirectional relevance R2 * mean(s) / std(s), with R2 no less
    than 0, and ``positive`` the share of patches with s > 0. ``size`` is the mean change of the
    logit when the concept rises by one deviation and the features follow it, with ``size_low`` to
    ``size_high``, its 95 % interval over groups, and ``size_class_0`` and so on, the same for the
    patches of each class. ``p_random`` and ``p_permuted`` are
    two-sided: how often random directions, or vectors of the permuted concept, have as large a
    ratio, and ``least_p`` is the lowest that permutations can give; each ``q`` controls the false
    discovery rate over all rows. NaN where the logit is linear in the layer: all patches have one
    sensitivity, and no ratio.
    """
    tables = []
    for layer, regression in regressions.items():
        s = regression.sensitivity
        if np.isnan(s).any():
            raise ValueError(f"{layer} was regressed without gradients: give them to regress.")
        r2 = regression.r2()[:, 0].mean(axis=0)
        ratios = mean_over_deviation(s, *leave_one_out(regression.groups))
        ratio, (low, high) = mean_over_deviation(s), jackknife_interval(ratios)
        columns = {
            "layer": layer,
            "concept": regression.concepts,
            **_sizes(regression),
            "r2": r2,
            "ratio": ratio,
            "low": low,
            "high": high,
            "br": np.maximum(r2, 0) * ratio,
            "positive": (s > 0).mean(axis=0),
            "least_p": 1 / (1 + len(regression.null_ratio)),
            "p_random": permutation_p_value(
                np.abs(ratio), np.abs(regression.random_ratio)[:, None]
            ),
            "p_permuted": permutation_p_value(np.abs(ratio), np.abs(regression.null_ratio)),
        }
        if regression.linear:
            columns |= dict.fromkeys(
                ("ratio", "low", "high", "br", "p_random", "p_permuted"), np.nan
            )
        tables.append(pd.DataFrame(columns))
    table = pd.concat(tables, ignore_index=True)
    return with_false_discovery_rate(table, "p_random", "p_permuted")


def _sizes(regression: Regression) -> dict[str, np.ndarray]:
    """Average the effects of concepts over groups, (T,), with intervals, and by class."""
    classes = [value for value in np.unique(regression.classes) if value >= 0]
    effect = pd.DataFrame(regression.effect)
    by_group = effect.groupby(regression.groups).mean().to_numpy()
    rows = [[column.mean(), *mean_interval(column)] for column in by_group.T]
    sizes = dict(zip(("size", "size_low", "size_high"), np.array(rows).T, strict=True))
    for value in classes:
        of_class = regression.classes == value
        of_groups = effect[of_class].groupby(regression.groups[of_class]).mean()
        sizes[f"size_class_{value}"] = of_groups.mean().to_numpy()
    return sizes
