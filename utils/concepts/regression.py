"""Regression concept vectors: in which layers a concept is linearly readable.

After Graziani et al. (2018), but evaluated on held-out groups: regressions are scored, and
sensitivities computed, on regions or patients that the regression has not seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from utils.concepts.ridge import RidgeFit
from utils.progress import progress_bar
from utils.statistics import grouped_r2, mean_over_deviation, steady_scaler


@dataclass(frozen=True)
class Regression:
    """Held-out predictions of T concepts from one layer."""

    concepts: tuple[str, ...]
    truth: np.ndarray  # (N, T), the measures of the concepts
    predicted: np.ndarray  # (repeats, N, T), by regressions that have not seen the patch's group
    penalties: np.ndarray  # (repeats, folds, T), as chosen
    null_r2: np.ndarray  # (permutations, T), held-out R2 with permuted groups
    sensitivity: np.ndarray | None  # (N, T), derivative of the logit along held-out vectors
    null_ratio: np.ndarray | None  # (permutations, T), mean over deviation of sensitivities
    scale: np.ndarray  # (C,), divisors that standardise the features of all patches


def regress(
    features: Mapping[str, np.ndarray],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    gradients: Mapping[str, np.ndarray] | None = None,
    folds: int = 5,
    repeats: int = 1,
    permutations: int = 100,
    seed: int = 0,
    description: str = "regression",
) -> dict[str, Regression]:
    """Predict concept measures of groups that the regression has not seen.

    Ridge regression on features that are standardised within each training part (channels that
    vary less than a tenth of the median channel are divided by that tenth). The penalty of each
    concept is chosen within the training part by cross-validation over its groups.

    Parameters
    ----------
    features : mapping of str to array, (N, C)
        Features by layer, from `layer_features`.
    measures : DataFrame, N rows
        One column per concept.
    groups : array, (N,)
        Region or patient of each patch; no group is split between folds.
    gradients : mapping of str to array, (N, C), optional
        Gradients from `layer_features_and_gradients`, for `relevance`.
    folds : int
        Folds of the cross-validation.
    repeats : int
        Assignments of groups to folds, each with another seed.
    permutations : int
        Permutations of the groups for the null: every concept's values are moved group by group,
        so that most neighbouring patches stay alike.
    seed : int
        Seed of folds and permutations.
    description : str
        Label of the progress bar.

    Returns
    -------
    dict of str to Regression
        Regressions by layer.
    """
    targets = concept_targets(measures)
    codes = fold_codes(groups, folds, len(targets))
    generator = np.random.default_rng(seed)
    orders = [_permute_groups(codes, generator) for _ in range(permutations)]
    # Concepts and their permutations share the same decompositions.
    columns = np.hstack([targets, *(targets[order] for order in orders)])
    count = targets.shape[1]
    splits = [
        list(GroupKFold(folds, shuffle=True, random_state=seed + r).split(targets, groups=codes))
        for r in range(repeats)
    ]
    regressions = {}
    for layer, x in progress_bar(features.items(), desc=description, unit="layer"):
        check_rows(layer, x, targets)
        slopes = None if gradients is None else gradients[layer]
        first = cross_fit(x, columns, codes, splits[0], slopes)
        others = [cross_fit(x, targets, codes, split) for split in splits[1:]]  # one null is enough
        null_r2 = held_out_r2(columns[:, count:], first.predicted[:, count:], codes)
        sensitivity = null_ratio = None
        if first.sensitivity is not None:
            sensitivity = first.sensitivity[:, :count]
            null_ratio = mean_over_deviation(first.sensitivity[:, count:])
            null_ratio = null_ratio.reshape(permutations, count)
        regressions[layer] = Regression(
            concepts=tuple(measures),
            truth=targets,
            predicted=np.stack([fit.predicted[:, :count] for fit in (first, *others)]),
            penalties=np.stack([fit.penalties[:, :count] for fit in (first, *others)]),
            null_r2=null_r2.reshape(permutations, count),
            sensitivity=sensitivity,
            null_ratio=null_ratio,
            scale=steady_scaler(x.astype(np.float64)).scale_,
        )
    return regressions


def concept_vectors(
    features: Mapping[str, np.ndarray], measures: pd.DataFrame, groups: np.ndarray
) -> dict[str, pd.DataFrame]:
    """Fit regression concept vectors on all patches.

    Parameters
    ----------
    features, measures, groups
        As in `regress`.

    Returns
    -------
    dict of str to DataFrame, (C, T)
        One unit vector per concept, as a column, in the space of a layer's pooled features: the
        weights of the regression of standardised features, mapped back to the features' units.
    """
    targets = concept_targets(measures)
    codes = fold_codes(groups, 2, len(targets))
    vectors = {}
    for layer, x in features.items():
        check_rows(layer, x, targets)
        fit = RidgeFit(x, targets, codes, np.arange(len(targets)))
        vectors[layer] = pd.DataFrame(fit.directions(), columns=list(measures))
    return vectors


class CrossFit(NamedTuple):
    """Predictions and sensitivities, ``(N, T)``, of held-out patches; penalties, ``(folds, T)``."""

    predicted: np.ndarray
    penalties: np.ndarray
    sensitivity: np.ndarray | None


def cross_fit(
    x: np.ndarray,
    y: np.ndarray,
    codes: np.ndarray,
    split: Iterable[tuple[np.ndarray, np.ndarray]],
    slopes: np.ndarray | None = None,
) -> CrossFit:
    """Fit ``x`` to ``y`` on each training part, and predict the held-out part."""
    predicted = np.full_like(y, np.nan)
    sensitivity = None if slopes is None else np.full_like(y, np.nan)
    penalties = []
    for train, test in split:
        fit = RidgeFit(x, y, codes, train)
        predicted[test] = fit.predict(test)
        penalties.append(fit.penalties)
        if slopes is not None:
            sensitivity[test] = slopes[test].astype(np.float64) @ fit.directions()
    return CrossFit(predicted, np.stack(penalties), sensitivity)


def held_out_r2(truth: np.ndarray, predicted: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Compute R2 of all held-out predictions together, ``(T,)``."""
    return grouped_r2(truth, predicted, codes, np.ones((1, codes.max() + 1)))[0]


def fold_codes(groups: np.ndarray, folds: int, count: int) -> np.ndarray:
    """Number the groups, ``(N,)``, or raise ValueError if they are too few for the folds."""
    if len(groups) != count:
        raise ValueError(f"{len(groups)} group labels for {count} patches: give one per patch.")
    names, codes = np.unique(groups, return_inverse=True)
    # Each training part is split once more, by groups, to choose the penalty.
    if folds < 2 or len(names) < folds or len(names) - -(-len(names) // folds) < 2:
        raise ValueError(
            f"there are {len(names)} groups for {folds} folds; expected at least two folds, one "
            "group per fold, and two groups in each training part: lower folds, or add regions or "
            "patients."
        )
    return codes


def _permute_groups(codes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Order of patches that puts whole groups in the place of others, neighbours together."""
    groups = generator.permutation(codes.max() + 1)
    permuted = np.concatenate([np.flatnonzero(codes == group) for group in groups])
    order = np.empty(len(codes), int)
    order[np.argsort(codes, kind="stable")] = permuted
    return order


def concept_targets(measures: pd.DataFrame) -> np.ndarray:
    """Return measures as an array, ``(N, T)``; raise ValueError if one cannot be regressed."""
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


def check_rows(layer: str, features: np.ndarray, targets: np.ndarray) -> None:
    """Raise ValueError unless features and targets have the same number of patches."""
    if len(features) != len(targets):
        raise ValueError(
            f"{layer} has features of {len(features)} patches, but there are measures of "
            f"{len(targets)}: compute both from the same PatchSet."
        )
