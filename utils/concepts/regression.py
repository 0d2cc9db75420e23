"""Regression concept vectors (Graziani et al. 2018), evaluated on held-out groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from sklearn.preprocessing import normalize

from utils.concepts.folds import (
    Folds,
    OfFolds,
    centring,
    fold_codes,
    group_folds,
    of_fold,
    permute_groups,
)
from utils.concepts.ridge import Ridge, choose_penalties
from utils.progress import progress_bar
from utils.statistics import grouped_r2, leave_one_out, mean_over_deviation, steady_scaler

DIRECTIONS = 500  # random ones, with which relevance is compared


@dataclass(frozen=True)
class Regression:
    """Held-out predictions of T concepts from one layer, for the N patches that are held out."""

    concepts: tuple[str, ...]
    groups: np.ndarray  # (N,), region or patient
    images: np.ndarray  # (N,), image or slide; "" where all count as one
    classes: np.ndarray  # (N,); -1 where they are not given
    # (N, T), the measures of the concepts, and (repeats, N, T), as predicted by regressions that
    # have not seen the patch's group; both centred within image and class where these are given.
    truth: np.ndarray
    predicted: np.ndarray
    null_r2: np.ndarray  # (permutations, T), held-out R2 with permuted groups
    sensitivity: np.ndarray  # (N, T), derivative of the logit along held-out vectors, or NaN
    effect: np.ndarray  # (N, T), change of the logit when a concept rises by its deviation, or NaN
    null_ratio: np.ndarray  # (permutations, T), mean over deviation of sensitivities
    random_ratio: np.ndarray  # (directions,), the same along random directions
    linear: bool  # whether the logit is linear in the layer: all patches have one gradient

    def r2(self) -> np.ndarray:
        """Compute `grouped_r2` with `leave_one_out`, of each repeat, ``(repeats, 1 + G, T)``."""
        weighted = leave_one_out(self.groups)
        return np.stack([grouped_r2(self.truth, y, *weighted) for y in self.predicted])


def regress(
    features: Mapping[str, OfFolds],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    gradients: Mapping[str, OfFolds] | None = None,
    splits: Folds | None = None,
    images: np.ndarray | None = None,
    classes: np.ndarray | None = None,
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
    features : mapping of str to array, (N, C), or to a sequence of them
        Features by layer, from `layer_features`; with `splits`, there may be one array per split,
        of the network that was trained on its training patches.
    measures : DataFrame, N rows
        One column per concept.
    groups : array, (N,)
        Region or patient of each patch, none of which is split between folds.
    gradients : as `features`, optional
        Gradients of the logit, for `relevance`.
    splits : sequence of (array, array), optional
        Indices of training and held-out patches, instead of `folds` and `repeats`; patches that
        are never held out are not scored.
    images, classes : array, (N,), optional
        Image (slide) and class of each patch. Predictions are scored within image and class: what
        tells these apart, such as their stain, does not count. Groups are permuted within images.
    folds, repeats, permutations, seed : int
        Folds of groups, assignments of groups to folds, and permutations of whole groups.
    description : str

    Returns
    -------
    dict of str to Regression, by layer
    """
    targets = concept_targets(features, measures, groups=groups)
    codes = np.unique(groups, return_inverse=True)[1] if splits else fold_codes(groups, folds)
    generator = np.random.default_rng(seed)
    images = np.broadcast_to("" if images is None else images, len(groups))
    orders = [permute_groups(codes, generator, images) for _ in range(permutations)]
    # Concepts and their permutations share decompositions; one assignment to folds is enough.
    columns = np.hstack([targets, *(targets[order] for order in orders)])
    count = targets.shape[1]
    assigned = (group_folds(codes, folds, seed + repeat) for repeat in range(repeats))
    first, *others = [splits] if splits else assigned
    scored = np.sort(np.concatenate([test for _, test in first]))
    numbers, weights = leave_one_out(np.asarray(groups)[scored])
    within = centring(images, classes, scored)
    truth = within(columns[scored])
    regressions = {}
    for layer, x in progress_bar(features.items(), desc=description, unit="layer"):
        slopes = gradients[layer] if gradients else None
        fitted = _cross_fit(x, columns, codes, first, slopes, seed)
        predicted, sensitivity, effect, random = (values[scored] for values in fitted)
        repeated = (_cross_fit(x, targets, codes, split)[0][scored] for split in others)
        centred_null = truth[:, count:], within(predicted)[:, count:]
        regressions[layer] = Regression(
            concepts=tuple(measures),
            groups=np.asarray(groups)[scored],
            images=images[scored],
            classes=np.full(len(scored), -1) if classes is None else np.asarray(classes)[scored],
            truth=truth[:, :count],
            predicted=np.stack([within(y) for y in (predicted[:, :count], *repeated)]),
            null_r2=grouped_r2(*centred_null, numbers, weights[:1]).reshape(permutations, count),
            sensitivity=sensitivity[:, :count],
            effect=effect[:, :count],
            null_ratio=mean_over_deviation(sensitivity[:, count:]).reshape(permutations, count),
            random_ratio=mean_over_deviation(random),
            linear=slopes is not None and _is_linear(slopes),
        )
    return regressions


def learning_curve(
    features: Mapping[str, OfFolds],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    splits: Folds | None = None,
    images: np.ndarray | None = None,
    classes: np.ndarray | None = None,
    shares: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    folds: int = 5,
    seed: int = 0,
    description: str = "learning curve",
) -> pd.DataFrame:
    """Score regressions that see only a share of the training groups.

    Parameters
    ----------
    features, measures, groups, splits, images, classes, folds, seed, description
        As in `regress`.
    shares : sequence of float
        Shares of the training groups, in (0, 1]; at least two groups are kept.

    Returns
    -------
    DataFrame
        ``layer``, ``concept``, ``share``, ``patches`` and ``groups`` (mean numbers in the training
        parts), and ``r2``, held out on the same patches for every share.
    """
    targets = concept_targets(features, measures, groups=groups)
    codes = np.unique(groups, return_inverse=True)[1] if splits else fold_codes(groups, folds)
    generator = np.random.default_rng(seed)
    whole = splits or group_folds(codes, folds, seed)
    scored = np.sort(np.concatenate([test for _, test in whole]))
    numbers, weights = leave_one_out(np.asarray(groups)[scored])
    images = np.broadcast_to("" if images is None else images, len(groups))
    within = centring(images, classes, scored)
    reduced: dict[float, list] = {share: [] for share in shares}
    for train, test in whole:
        order = generator.permutation(np.unique(codes[train]))
        for share, split in reduced.items():
            kept = order[: max(2, round(share * len(order)))]
            split.append((train[np.isin(codes[train], kept)], test))
    fits = list(product(features.items(), reduced.items()))
    tables = []
    for (layer, x), (share, split) in progress_bar(fits, desc=description, unit="fit"):
        predicted = _cross_fit(x, targets, codes, split)[0]
        columns = {
            "layer": layer,
            "concept": list(measures),
            "share": share,
            "patches": np.mean([len(train) for train, _ in split]),
            "groups": np.mean([len(np.unique(codes[train])) for train, _ in split]),
            "r2": grouped_r2(
                *map(within, (targets[scored], predicted[scored])), numbers, weights[:1]
            )[0],
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _cross_fit(
    x: OfFolds,
    y: np.ndarray,
    codes: np.ndarray,
    split: Folds,
    slopes: OfFolds | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Predict held-out patches, and what the logit does along each concept, from its gradients.

    Sensitivities are along RCVs, which filter a concept out of the features; effects are along
    patterns, by which the features follow it (Haufe et al. 2014, Pahde et al. 2025). The last
    array, ``(N, directions)``, has the sensitivities along random directions: any directions of
    standardised features, mapped back to the features' units as RCVs are.
    """
    predicted, sensitivity, effect = (np.full_like(y, np.nan) for _ in range(3))
    random = np.full((len(y), 0 if slopes is None else DIRECTIONS), np.nan)
    for fold, (train, test) in enumerate(split):
        z = of_fold(x, fold).astype(np.float64)
        scaler = steady_scaler(z[train])
        z = scaler.transform(z, copy=False)
        penalties = choose_penalties(z[train], y[train], codes[train])
        ridge = Ridge(z[train], y[train])
        predicted[test] = ridge.predict(ridge.project(z[test]), penalties)
        if slopes is not None:
            gradient, scale = of_fold(slopes, fold)[test], scaler.scale_[:, None]
            vectors = ridge.axes @ ridge.coefficients(penalties) / scale
            sensitivity[test] = gradient @ normalize(vectors, axis=0)
            shifted = y[train] - y[train].mean(axis=0)
            deviation = np.maximum(shifted.std(axis=0), 1e-300)
            effect[test] = gradient @ (scale * (z[train].T @ shifted) / len(train) / deviation)
            directions = np.random.default_rng(seed).normal(size=(len(scale), DIRECTIONS)) / scale
            random[test] = gradient @ normalize(directions, axis=0)
    return predicted, sensitivity, effect, random


def _is_linear(slopes: OfFolds) -> bool:
    arrays = [slopes] if isinstance(slopes, np.ndarray) else slopes
    return all(np.ptp(x, axis=0).max() <= 1e-4 * np.abs(x).max() for x in arrays)


def _is_finite(arrays: OfFolds) -> bool:
    arrays = [arrays] if isinstance(arrays, np.ndarray) else arrays
    return all(np.isfinite(x).all() for x in arrays)


def concept_targets(
    features: Mapping[str, OfFolds], measures: pd.DataFrame, **others: np.ndarray
) -> np.ndarray:
    """Return measures as an array, ``(N, T)``, if they can be regressed on the features."""
    arrays = {"measures": measures, **others}
    arrays |= {layer: of_fold(x, 0) for layer, x in features.items()}
    counts = {name: len(values) for name, values in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"numbers of patches are {counts}; expected all of the same PatchSet.")
    if measures.shape[1] == 0:
        raise ValueError("there are no measures: give a table with one column per concept.")
    if bad := [layer for layer, x in features.items() if not _is_finite(x)]:
        raise ValueError(f"features of {bad} are not finite: are the network's weights sound?")
    targets = measures.to_numpy(dtype=np.float64)
    finite = np.isfinite(targets).all(axis=0)
    useless = measures.columns[~finite | (np.ptp(targets, axis=0) == 0)]
    if len(useless):
        raise ValueError(f"measures of {list(useless)} are constant or not finite: leave them out.")
    return targets
