"""Regression concept vectors: which layers know a concept, and whether the output depends on it.

After Graziani et al. (2018), with every number held out: regressions are scored, and sensitivities
computed, on regions or patients that the regression has not seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from utils.features import layer_features, layer_features_and_gradients, steady_scaler
from utils.progress import progress_bar

__all__ = [
    "Regression",
    "concept_vectors",
    "cross_validated_r2",
    "in_sample_r2",
    "judge_c3",
    "judge_relevance",
    "layer_features",
    "layer_features_and_gradients",
    "learning_curve",
    "r2_difference",
    "r2_table",
    "regress",
    "relevance",
]
PENALTIES = np.logspace(0, 6, 13)  # of standardised features
INNER_FOLDS = 4  # of the choice of the penalty, within each training part

# --- Regression -------------------------------------------------------------------------------


def in_sample_r2(features: Mapping[str, np.ndarray], measures: pd.DataFrame) -> pd.DataFrame:
    """Fit ordinary least squares and score it on the same patches, as the paper does.

    With as many features as patches this is 1 for anything, noise included; it is here to be
    compared with `cross_validated_r2`.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``r2`` and ``adjusted_r2``, which is NaN where there are
        not more patches than features.
    """
    targets = _targets(measures)
    rows = []
    for layer, x in progress_bar(features.items(), desc="in-sample", unit="layer"):
        _check_rows(layer, x, targets)
        scaled = StandardScaler().fit_transform(x.astype(np.float64))
        fit = LinearRegression().fit(scaled, targets)
        r2 = 1 - ((targets - fit.predict(scaled)) ** 2).sum(axis=0) / _spread(targets)
        left = len(x) - fit.rank_ - 1
        adjusted = 1 - (1 - r2) * (len(x) - 1) / left if left > 0 else np.full(len(r2), np.nan)
        rows += zip([layer] * len(r2), measures, r2, adjusted, strict=True)
    return pd.DataFrame(rows, columns=["layer", "concept", "r2", "adjusted_r2"])


@dataclass(frozen=True)
class Regression:
    """Held-out predictions of all concepts from one layer.

    Attributes
    ----------
    concepts : tuple of str
    truth : array, (N, T)
        The concepts' measures.
    predicted : array, (repeats, N, T)
        Each patch's by a regression that has not seen its group.
    penalties : array, (repeats, folds, T)
        The chosen ones.
    null_r2 : array, (shuffles, T)
        Held-out R2 of each concept with the groups' values in another order.
    sensitivity : array, (N, T), or None
        Derivative of the logit along the concept's vector of a regression that has not seen the
        patch's group.
    null_ratio : array, (shuffles, T), or None
        Mean over standard deviation of the sensitivities along the shuffled concepts' vectors.
    scale : array, (C,)
        What the features are divided by to be standardised, over all patches.
    """

    concepts: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray
    penalties: np.ndarray
    null_r2: np.ndarray
    sensitivity: np.ndarray | None
    null_ratio: np.ndarray | None
    scale: np.ndarray


def regress(
    features: Mapping[str, np.ndarray],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    gradients: Mapping[str, np.ndarray] | None = None,
    folds: int = 5,
    repeats: int = 1,
    shuffles: int = 100,
    seed: int = 0,
    description: str = "regression",
) -> dict[str, Regression]:
    """Predict concept measures of regions that the regression has not seen.

    Ridge regression on features that are standardised within each training part (channels that
    vary less than a tenth of the median channel are divided by that tenth). The penalty of each
    concept is chosen within the training part by cross-validation over its groups. All concepts
    and shuffles are targets of the same decompositions.

    Parameters
    ----------
    features : mapping of str to array, (N, C)
        From `layer_features`.
    measures : DataFrame, N rows
        One column a concept.
    groups : array, (N,)
        Region or patient; none is on both sides of a fold.
    gradients : mapping of str to array, (N, C), optional
        From `layer_features_and_gradients`, for `relevance`.
    folds : int
        Parts of the cross-validation.
    repeats : int
        Assignments of groups to folds, each with another seed.
    shuffles : int
        Repetitions of every concept with the groups' values laid over the patches in another order
        of groups, which keeps most neighbouring patches alike: the null.
    seed : int
        Of folds and shuffles.
    description : str
        Of the progress bar.

    Returns
    -------
    dict of str to Regression
        By layer.

    Raises
    ------
    ValueError
        If a measure is constant or not finite, or there are too few groups for the folds.
    """
    targets = _targets(measures)
    codes = _codes(groups, folds, len(targets))
    generator = np.random.default_rng(seed)
    orders = [_exchange_groups(codes, generator) for _ in range(shuffles)]
    columns = np.hstack([targets, *(targets[order] for order in orders)])
    count = targets.shape[1]
    splits = [
        list(GroupKFold(folds, shuffle=True, random_state=seed + r).split(targets, groups=codes))
        for r in range(repeats)
    ]
    once = np.ones((1, codes.max() + 1))
    found = {}
    for layer, x in progress_bar(features.items(), desc=description, unit="layer"):
        _check_rows(layer, x, targets)
        slopes = None if gradients is None else gradients[layer].astype(np.float64)
        predicted, penalties, sensitivity = [], [], None
        for repeat, split in enumerate(splits):
            wanted = columns if repeat == 0 else targets  # one null is enough
            along = slopes if repeat == 0 else None
            result = _cross_fit(x.astype(np.float64), wanted, codes, split, along)
            predicted.append(result[0])
            penalties.append(result[1][:, :count])
            sensitivity = result[2] if repeat == 0 else sensitivity
        null = _grouped_r2(columns[:, count:], predicted[0][:, count:], codes, once)[0]
        ratio = None
        if sensitivity is not None:
            ratio = _ratio(sensitivity[:, count:]).reshape(shuffles, count)
            sensitivity = sensitivity[:, :count]
        found[layer] = Regression(
            tuple(measures),
            targets,
            np.stack([part[:, :count] for part in predicted]),
            np.stack(penalties),
            null.reshape(shuffles, count),
            sensitivity,
            ratio,
            steady_scaler(x.astype(np.float64)).scale_,
        )
    return found


def cross_validated_r2(
    features: Mapping[str, np.ndarray], measures: pd.DataFrame, groups: np.ndarray, **options
) -> pd.DataFrame:
    """Score the predictions of `regress`, which takes the same arguments: see `r2_table`."""
    return r2_table(regress(features, measures, groups, **options), groups)


def r2_table(
    regressions: Mapping[str, Regression],
    groups: np.ndarray,
    *,
    bootstraps: int = 1000,
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
    bootstraps, seed : int
        Draws of groups, with replacement, for the interval.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``r2`` (mean over repeats), ``low`` and ``high`` (95 %
        interval over groups), ``sd_over_repeats``, ``null_low`` and ``null_high`` (95 % range of
        the shuffled concept's R2), ``p`` (one-sided, from the shuffles) and ``q`` (the same, with
        the false discovery rate controlled over the rows, Benjamini and Hochberg 1995).
    """
    codes = np.unique(groups, return_inverse=True)[1]
    draws = _draws(codes, bootstraps, seed)
    rows = []
    for layer, found in regressions.items():
        once = _repeated_r2(found, codes, np.ones((1, codes.max() + 1)))[:, 0]
        spread = _repeated_r2(found, codes, draws).mean(axis=0)
        r2, (low, high) = once.mean(axis=0), np.nanpercentile(spread, [2.5, 97.5], axis=0)
        deviation = once.std(axis=0, ddof=1) if len(once) > 1 else np.full(len(r2), np.nan)
        null = np.full((2, len(r2)), np.nan)
        p = np.full(len(r2), np.nan)
        if len(found.null_r2):
            null = np.percentile(found.null_r2, [2.5, 97.5], axis=0)
            p = _p_value(once[0], found.null_r2)
        columns = ([layer] * len(r2), found.concepts, r2, low, high, deviation, *null, p)
        rows += zip(*columns, strict=True)
    names = ["layer", "concept", "r2", "low", "high", "sd_over_repeats", "null_low", "null_high"]
    return _with_q(pd.DataFrame(rows, columns=[*names, "p"]), "p")


def r2_difference(
    one: Mapping[str, Regression],
    other: Mapping[str, Regression],
    groups: np.ndarray,
    layers: Sequence[str],
    other_layers: Sequence[str] | None = None,
    *,
    bootstraps: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Compare mean held-out R2 over concepts and layers, on the same draws of groups.

    Parameters
    ----------
    one, other : mapping of str to Regression
        Of the same patches and concepts.
    groups : array, (N,)
    layers, other_layers : sequence of str
        Whose R2 are averaged; by default the same of both.
    bootstraps, seed : int
        Draws of groups.

    Returns
    -------
    difference, low, high : float
        `one` minus `other`, with its 95 % interval.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    draws = np.vstack([np.ones(codes.max() + 1), _draws(codes, bootstraps, seed)])

    def mean(found: Mapping[str, Regression], names: Sequence[str]) -> np.ndarray:
        parts = [_repeated_r2(found[name], codes, draws).mean(axis=(0, 2)) for name in names]
        return np.mean(parts, axis=0)

    difference = mean(one, layers) - mean(other, other_layers or layers)
    low, high = np.nanpercentile(difference[1:], [2.5, 97.5])
    return float(difference[0]), float(low), float(high)


def judge_c3(
    networks: Mapping[str, Mapping[str, Regression]],
    groups: np.ndarray,
    *,
    layers: Sequence[str] | None = None,
) -> str:
    """Say whether texture is readable in early layers, and whether finetuning changes where.

    Parameters
    ----------
    networks : mapping of str to (mapping of str to Regression)
        Of ``random``, ``pretrained`` and ``finetuned``.
    groups : array, (N,)
    layers : sequence of str, optional
        Those that count; by default all.

    Returns
    -------
    str
        A line a comparison of mean held-out R2 with its 95 % interval over groups, and a verdict.
        Early and deep are the first and the last third of the layers. C3 is supported if texture is
        more readable in early layers than in deep ones and than in a random network's, and if
        finetuning changes deep layers otherwise than early ones.
    """
    layers = list(layers or networks["pretrained"])
    third = max(1, len(layers) // 3)
    early, deep = layers[:third], layers[-third:]
    lines, found = [], {}
    for title, one, other, here, there in (
        ("early minus deep layers, pretrained", "pretrained", "pretrained", early, deep),
        ("pretrained minus random, early layers", "pretrained", "random", early, early),
        ("pretrained minus random, deep layers", "pretrained", "random", deep, deep),
        ("finetuned minus pretrained, early layers", "finetuned", "pretrained", early, early),
        ("finetuned minus pretrained, deep layers", "finetuned", "pretrained", deep, deep),
    ):
        difference, low, high = r2_difference(networks[one], networks[other], groups, here, there)
        found[title] = "more" if low > 0 else "less" if high < 0 else "undecided"
        lines.append(f"{title}: {difference:+.3f} ({low:+.3f} to {high:+.3f}), {found[title]}")
    readable, learned, learned_deep, early_change, deep_change = found.values()
    where = {
        "more": "texture is read more easily in early layers than in deep ones",
        "less": "texture is read more easily in deep layers than in early ones",
        "undecided": "early and deep layers cannot be told apart",
    }[readable]
    source = " and ".join(
        {
            "more": f"better than random ones in {place} layers",
            "less": f"worse than random ones in {place} layers",
            "undecided": f"no better than random ones in {place} layers",
        }[outcome]
        for place, outcome in (("early", learned), ("deep", learned_deep))
    )
    change = {"more": "more", "less": "less", "undecided": "neither more nor less"}
    supported = readable == learned == "more" and "undecided" != deep_change != early_change
    return "\n".join(
        [
            *lines,
            f"Verdict: {where}. ImageNet's features are {source}. After finetuning, early layers "
            f"are {change[early_change]} readable and deep ones {change[deep_change]}. C3 is "
            f"{'supported' if supported else 'not supported, or only in part'}.",
        ]
    )


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

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``share``, ``patches`` (mean number trained on) and ``r2``,
        held out on the same patches for every share.
    """
    targets = _targets(measures)
    codes = _codes(groups, folds, len(targets))
    generator = np.random.default_rng(seed)
    split = GroupKFold(folds, shuffle=True, random_state=seed).split(targets, groups=codes)
    splits: dict[float, list] = {share: [] for share in shares}
    for train, test in split:
        order = generator.permutation(np.unique(codes[train]))
        for share in shares:
            kept = order[: max(2, round(share * len(order)))]
            splits[share].append((train[np.isin(codes[train], kept)], test))
    once = np.ones((1, codes.max() + 1))
    rows = []
    for layer, x in progress_bar(features.items(), desc=description, unit="layer"):
        for share, parts in splits.items():
            predicted = _cross_fit(x.astype(np.float64), targets, codes, parts, None)[0]
            r2 = _grouped_r2(targets, predicted, codes, once)[0]
            patches = np.mean([len(train) for train, _ in parts])
            rows += [(layer, c, share, patches, v) for c, v in zip(measures, r2, strict=True)]
    return pd.DataFrame(rows, columns=["layer", "concept", "share", "patches", "r2"])


def concept_vectors(
    features: Mapping[str, np.ndarray], measures: pd.DataFrame, groups: np.ndarray
) -> dict[str, pd.DataFrame]:
    """Fit the RCVs themselves, on all patches.

    Returns
    -------
    dict of str to DataFrame, (C, T)
        By layer: a unit vector in the space of pooled features, a column a concept. It is the
        regression's weight vector of standardised features, mapped back to the features' units.
    """
    targets = _targets(measures)
    codes = _codes(groups, 2, len(targets))
    everything = np.arange(len(targets))
    vectors = {}
    for layer, x in features.items():
        _check_rows(layer, x, targets)
        fit = _Fit(x.astype(np.float64), targets, codes, everything)
        vectors[layer] = pd.DataFrame(fit.directions(), columns=list(measures))
    return vectors


# --- Relevance --------------------------------------------------------------------------------


def judge_relevance(table: pd.DataFrame) -> str:
    """Say in how many layers and concepts the output depends on a concept beyond chance.

    Parameters
    ----------
    table : DataFrame
        `relevance` of several networks, with a column ``network``.
    """
    lines = []
    for network, part in table.groupby("network", sort=False):
        known = part.dropna(subset="ratio")
        sure = known[(known["q_random"] < 0.05) & (known["q_shuffled"] < 0.05)]
        line = f"{network}: {len(sure)} of {len(known)} concepts and layers are relevant (q < 0.05)"
        if len(sure):
            top = sure.loc[sure["br"].abs().idxmax()]
            line += f"; the largest is {top['concept']} at {top['layer']}, Br {top['br']:+.2f}"
        lines.append(line)
    return "\n".join(lines)


def relevance(
    regressions: Mapping[str, Regression],
    gradients: Mapping[str, np.ndarray],
    groups: np.ndarray,
    *,
    directions: int = 500,
    bootstraps: int = 1000,
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
        Random unit vectors a layer.
    bootstraps, seed : int
        Of the interval over groups; the seed also of the directions.

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

    Raises
    ------
    ValueError
        If the regressions were made without gradients.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    draws = _draws(codes, bootstraps, seed)
    generator = np.random.default_rng(seed)
    rows = []
    for layer, found in regressions.items():
        if found.sensitivity is None:
            raise ValueError(f"{layer} was regressed without gradients: give them to regress.")
        s = found.sensitivity
        r2 = _repeated_r2(found, codes, np.ones((1, codes.max() + 1)))[:, 0].mean(axis=0)
        slopes = gradients[layer]
        # As RCVs are: any direction of standardised features, mapped back to the features' units.
        random = generator.normal(size=(slopes.shape[1], directions)) / found.scale[:, None]
        random = _ratio(slopes @ (random / np.linalg.norm(random, axis=0)))
        positive = (s > 0).mean(axis=0)
        ratio = low = high = br = p_random = p_shuffled = np.full(len(r2), np.nan)
        if np.ptp(slopes, axis=0).max() > 1e-4 * np.abs(slopes).max():
            ratio = _ratio(s)
            low, high = np.percentile(_grouped_ratio(s, codes, draws), [2.5, 97.5], axis=0)
            br = np.maximum(r2, 0) * ratio
            p_random = _p_value(np.abs(ratio), np.abs(random)[:, None])
            if len(found.null_ratio):
                p_shuffled = _p_value(np.abs(ratio), np.abs(found.null_ratio))
        columns = (r2, ratio, low, high, br, positive, p_random, p_shuffled)
        rows += zip([layer] * len(r2), found.concepts, *columns, strict=True)
    names = ["layer", "concept", "r2", "ratio", "low", "high", "br", "positive"]
    table = pd.DataFrame(rows, columns=[*names, "p_random", "p_shuffled"])
    return _with_q(table, "p_random", "p_shuffled")


# --- One training part ------------------------------------------------------------------------


class _Fit:
    """Ridge regression of many targets on one training part, penalties chosen over its groups.

    It works on the Gram matrix of the standardised features, whose decomposition serves all
    penalties and targets; the inner parts share the matrix and the scale of the whole part.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, codes: np.ndarray, train: np.ndarray):
        self.scaler = steady_scaler(x[train])
        self.z = self.scaler.transform(x)
        self.train, self.y = train, y
        self.gram = self.z @ self.z[train].T
        inside = np.arange(len(train))
        own = self.gram[train]
        inner = GroupKFold(min(INNER_FOLDS, len(np.unique(codes[train]))))
        errors = np.zeros((len(PENALTIES), y.shape[1]))
        for fit, check in inner.split(inside, groups=codes[train]):
            part = _Decomposition(own, y[train], fit)
            projected, truth = part.project(check), y[train[check]]
            for index, penalty in enumerate(PENALTIES):
                errors[index] += ((part.predict(projected, penalty) - truth) ** 2).sum(axis=0)
        self.penalties = PENALTIES[errors.argmin(axis=0)]
        self.whole = _Decomposition(self.gram, y[train], inside, train)

    def predict(self, test: np.ndarray) -> np.ndarray:
        return self.whole.predict(self.whole.project(test), self.penalties)

    def directions(self) -> np.ndarray:
        """Unit vectors in the features' own units, ``(C, T)``."""
        weights = self.z[self.train].T @ self.whole.coefficients(self.penalties)
        weights /= self.scaler.scale_[:, None]
        norm = np.linalg.norm(weights, axis=0)
        return np.divide(weights, norm, out=np.zeros_like(weights), where=norm > 0)


class _Decomposition:
    """Kernel ridge regression with an intercept, for any penalty after one decomposition.

    Parameters
    ----------
    gram : array, (M, K)
        Inner products of any M patches with the K of the training part.
    y : array, (K, T)
    fit : array
        Which of the K are fitted.
    rows : array, optional
        Which of the M these K are; by default the first K.
    """

    def __init__(self, gram, y, fit, rows=None):
        own = gram[fit if rows is None else rows[fit]][:, fit]
        self.cross, self.column_means, self.mean = gram[:, fit], own.mean(axis=0), own.mean()
        centred = own - self.column_means - self.column_means[:, None] + self.mean
        values, self.vectors = np.linalg.eigh(centred)
        self.values = np.maximum(values, 0)[:, None]
        self.intercept = y[fit].mean(axis=0)
        self.rotated = self.vectors.T @ (y[fit] - self.intercept)

    def coefficients(self, penalty: float | np.ndarray) -> np.ndarray:
        """Weights of the fitted patches, which sum to 0 for each target."""
        return self.vectors @ (self.rotated / (self.values + penalty))

    def project(self, which: np.ndarray) -> np.ndarray:
        """Coordinates of some of the M patches along the decomposition's vectors."""
        cross = self.cross[which]
        cross = cross - cross.mean(axis=1, keepdims=True) - self.column_means + self.mean
        return cross @ self.vectors

    def predict(self, projected: np.ndarray, penalty: float | np.ndarray) -> np.ndarray:
        return projected @ (self.rotated / (self.values + penalty)) + self.intercept


def _cross_fit(x, y, codes, split, slopes) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    predicted = np.full_like(y, np.nan)
    sensitivity = None if slopes is None else np.full_like(y, np.nan)
    penalties = []
    for train, test in split:
        fit = _Fit(x, y, codes, train)
        predicted[test] = fit.predict(test)
        penalties.append(fit.penalties)
        if slopes is not None:
            sensitivity[test] = slopes[test] @ fit.directions()
    return predicted, np.stack(penalties), sensitivity


# --- Statistics -------------------------------------------------------------------------------


def _codes(groups: np.ndarray, folds: int, count: int) -> np.ndarray:
    if len(groups) != count:
        raise ValueError(f"there are {len(groups)} groups of {count} patches: give one a patch.")
    names, codes = np.unique(groups, return_inverse=True)
    # Each training part is split once more, by groups, to choose the penalty.
    if folds < 2 or len(names) < folds or len(names) - -(-len(names) // folds) < 2:
        raise ValueError(
            f"there are {len(names)} groups for {folds} folds; expected two folds or more, a group "
            "a fold, and two groups or more in each training part: lower folds or add regions."
        )
    return codes


def _exchange_groups(codes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Order of patches that lays whole groups over others, keeping neighbours together."""
    names = generator.permutation(codes.max() + 1)
    taken = np.concatenate([np.flatnonzero(codes == name) for name in names])
    order = np.empty(len(codes), int)
    order[np.argsort(codes, kind="stable")] = taken
    return order


def _draws(codes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """How often each draw has each group: (draws, groups)."""
    groups = codes.max() + 1
    generator = np.random.default_rng(seed)
    return generator.multinomial(groups, np.full(groups, 1 / groups), size=count)


def _sums(values: np.ndarray, codes: np.ndarray, draws: np.ndarray) -> np.ndarray:
    total = np.zeros((draws.shape[1], *values.shape[1:]))
    np.add.at(total, codes, values)
    return draws @ total


def _grouped_r2(
    truth: np.ndarray, predicted: np.ndarray, codes: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """R2 with every group counted as often as each draw has it: (draws, targets)."""
    centred = truth - truth.mean(axis=0)
    count = _sums(np.ones((len(truth), 1)), codes, draws)
    total = _sums(centred**2, codes, draws) - _sums(centred, codes, draws) ** 2 / count
    total = np.where(total > 1e-12 * (centred**2).sum(axis=0), total, np.nan)  # all alike: no R2
    return 1 - _sums((truth - predicted) ** 2, codes, draws) / total


def _repeated_r2(found: Regression, codes: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """R2 by repeat, draw and concept."""
    return np.stack([_grouped_r2(found.truth, part, codes, draws) for part in found.predicted])


def _ratio(sensitivity: np.ndarray) -> np.ndarray:
    deviation = sensitivity.std(axis=0)
    mean = sensitivity.mean(axis=0)
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0)


def _grouped_ratio(sensitivity: np.ndarray, codes: np.ndarray, draws: np.ndarray) -> np.ndarray:
    count = _sums(np.ones((len(sensitivity), 1)), codes, draws)
    mean = _sums(sensitivity, codes, draws) / count
    variance = np.maximum(_sums(sensitivity**2, codes, draws) / count - mean**2, 0)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0)


def _spread(targets: np.ndarray) -> np.ndarray:
    return ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)


def _p_value(found: np.ndarray, null: np.ndarray) -> np.ndarray:
    """How often the null, (draws, T), is no less than what was found, which counts as a draw."""
    return (1 + (null >= found).sum(axis=0)) / (1 + len(null))


def _with_q(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    for column in columns:
        known = table[column].notna()
        values = np.full(len(table), np.nan)
        if known.any():
            values[known] = false_discovery_control(table.loc[known, column])
        table["q" + column[1:]] = values
    return table


def _targets(measures: pd.DataFrame) -> np.ndarray:
    targets = measures.to_numpy(dtype=np.float64)
    for name, column in zip(measures, targets.T, strict=True):
        if not np.isfinite(column).all():
            raise ValueError(
                f"concept {name!r} is not finite for {np.sum(~np.isfinite(column))} patches: leave "
                "these patches out."
            )
        if np.ptp(column) == 0:
            raise ValueError(f"concept {name!r} is {column[0]} for every patch: leave it out.")
    return targets


def _check_rows(layer: str, features: np.ndarray, targets: np.ndarray) -> None:
    if len(features) != len(targets):
        raise ValueError(
            f"{layer} has features of {len(features)} patches, but there are measures of "
            f"{len(targets)}: compute both from the same PatchSet."
        )
