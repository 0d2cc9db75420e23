"""Regression concept vectors: in which layers a concept is linearly readable.

After Graziani et al. (2018), but evaluated on held-out groups: regressions are scored, and
sensitivities computed, on regions or patients that the regression has not seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from utils.concepts.ridge import RidgeFit
from utils.progress import progress_bar
from utils.statistics import grouped_r2, mean_over_deviation, steady_scaler

Folds = list[tuple[np.ndarray, np.ndarray]]  # patches to train on and to hold out


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

    def r2(self, codes: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
        """Compute `grouped_r2` of each repeat, ``(repeats, resamples, T)``."""
        return np.stack([grouped_r2(self.truth, y, codes, counts) for y in self.predicted])


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
    """Predict concept measures of groups that the ridge regression has not seen.

    Features are standardised, and the penalty of each concept is chosen by cross-validation over
    groups, within each training part.

    Parameters
    ----------
    features : mapping of str to array, (N, C)
        Features by layer, from `layer_features`.
    measures : DataFrame, N rows
        One column per concept.
    groups : array, (N,)
        Region or patient of each patch; no group is split between folds.
    gradients : mapping of str to array, (N, C), optional
        Gradients of the logit, for `relevance`.
    folds, repeats : int
        Folds of the cross-validation, and assignments of groups to folds.
    permutations : int
        Permutations of whole groups for the null, so that most neighbouring patches stay alike.
    seed, description
        Seed of folds and permutations, and label of the progress bar.

    Returns
    -------
    dict of str to Regression
        Regressions by layer.
    """
    targets = concept_targets(features, measures)
    codes = _fold_codes(groups, folds, len(targets))
    generator = np.random.default_rng(seed)
    orders = [_permute_groups(codes, generator) for _ in range(permutations)]
    # Concepts and their permutations share the same decompositions.
    columns = np.hstack([targets, *(targets[order] for order in orders)])
    count = targets.shape[1]
    first, *others = (_grouped_folds(codes, folds, seed + repeat) for repeat in range(repeats))
    regressions = {}
    for layer, x in progress_bar(features.items(), desc=description, unit="layer"):
        slopes = None if gradients is None else gradients[layer]
        predicted, penalties, sensitivity = _cross_fit(x, columns, codes, first, slopes)
        null_r2 = grouped_r2(columns[:, count:], predicted[:, count:], codes)
        null_ratio = None
        if sensitivity is not None:
            null_ratio = mean_over_deviation(sensitivity[:, count:]).reshape(permutations, count)
            sensitivity = sensitivity[:, :count]
        fits = [(predicted[:, :count], penalties[:, :count])]
        fits += [_cross_fit(x, targets, codes, split)[:2] for split in others]  # one null is enough
        regressions[layer] = Regression(
            concepts=tuple(measures),
            truth=targets,
            predicted=np.stack([predicted for predicted, _ in fits]),
            penalties=np.stack([penalties for _, penalties in fits]),
            null_r2=null_r2.reshape(permutations, count),
            sensitivity=sensitivity,
            null_ratio=null_ratio,
            scale=steady_scaler(x.astype(np.float64)).scale_,
        )
    return regressions


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
    features, measures, groups, folds, description
        As in `regress`.
    shares : sequence of float
        Shares of the training groups, in (0, 1]; at least two groups are kept.
    seed : int
        Seed of folds and of the order in which groups are added.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``concept``, ``share``, ``patches`` and ``groups`` (mean numbers in the
        training parts) and ``r2``, held out on the same patches for every share.
    """
    targets = concept_targets(features, measures)
    codes = _fold_codes(groups, folds, len(targets))
    generator = np.random.default_rng(seed)
    splits: dict[float, list] = {share: [] for share in shares}
    for train, test in _grouped_folds(codes, folds, seed):
        order = generator.permutation(np.unique(codes[train]))
        for share, split in splits.items():
            kept = order[: max(2, round(share * len(order)))]
            split.append((train[np.isin(codes[train], kept)], test))
    tables = []
    for layer, x in progress_bar(features.items(), desc=description, unit="layer"):
        for share, split in splits.items():
            table = {"layer": layer, "concept": list(measures), "share": share}
            table["patches"] = np.mean([len(train) for train, _ in split])
            table["groups"] = np.mean([len(np.unique(codes[train])) for train, _ in split])
            table["r2"] = grouped_r2(targets, _cross_fit(x, targets, codes, split)[0], codes)[0]
            tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def concept_vectors(
    features: Mapping[str, np.ndarray], measures: pd.DataFrame, groups: np.ndarray
) -> dict[str, pd.DataFrame]:
    """Fit a unit vector per concept to all patches, ``(C, T)``, in the units of the features."""
    targets = concept_targets(features, measures)
    codes = _fold_codes(groups, 2, len(targets))
    every = np.arange(len(targets))
    return {
        layer: pd.DataFrame(RidgeFit(x, targets, codes, every).directions(), columns=[*measures])
        for layer, x in features.items()
    }


def _cross_fit(
    x: np.ndarray, y: np.ndarray, codes: np.ndarray, split: Folds, slopes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Predict held-out patches; return predictions, penalties by fold, and sensitivities."""
    predicted = np.full_like(y, np.nan)
    sensitivity = None if slopes is None else np.full_like(y, np.nan)
    penalties = []
    for train, test in split:
        fit = RidgeFit(x, y, codes, train)
        predicted[test] = fit.predict(test)
        penalties.append(fit.penalties)
        if slopes is not None:
            sensitivity[test] = slopes[test].astype(np.float64) @ fit.directions()
    return predicted, np.stack(penalties), sensitivity


def concept_targets(features: Mapping[str, np.ndarray], measures: pd.DataFrame) -> np.ndarray:
    """Return measures as an array, ``(N, T)``, if they can be regressed on the features."""
    targets = measures.to_numpy(dtype=np.float64)
    for name, column in zip(measures, targets.T, strict=True):
        unknown = np.sum(~np.isfinite(column))
        if unknown:
            raise ValueError(
                f"concept {name!r} is not finite for {unknown} patches: leave these patches out."
            )
        if np.ptp(column) == 0:
            raise ValueError(f"concept {name!r} is {column[0]} for every patch: leave it out.")
    for layer, x in features.items():
        if len(x) != len(targets):
            raise ValueError(
                f"{layer} has features of {len(x)} patches, but there are measures of "
                f"{len(targets)}: compute both from the same PatchSet."
            )
    return targets


def _fold_codes(groups: np.ndarray, folds: int, count: int) -> np.ndarray:
    """Number the groups of all patches, ``(N,)``, if they are enough for the folds."""
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


def _grouped_folds(codes: np.ndarray, folds: int, seed: int) -> Folds:
    """Split patches into folds of whole groups."""
    return list(GroupKFold(folds, shuffle=True, random_state=seed).split(codes, groups=codes))


def _permute_groups(codes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Order of patches that puts whole groups in the place of others, neighbours together."""
    groups = generator.permutation(codes.max() + 1)
    permuted = np.concatenate([np.flatnonzero(codes == group) for group in groups])
    order = np.empty(len(codes), int)
    order[np.argsort(codes, kind="stable")] = permuted
    return order
