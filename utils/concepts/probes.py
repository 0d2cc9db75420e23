"""In which layers tumor is linearly readable: the scale for what else is."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from utils.concepts.folds import Folds, OfFolds, of_fold
from utils.networks.probe import fit_head
from utils.patches import PatchSet
from utils.progress import progress_bar
from utils.statistics import group_sums, jackknife_interval, leave_one_out


def balanced_accuracy(correct: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> tuple:
    """Mean of the accuracies of both classes, each group counting once, with a 95 % interval.

    Returns the value and the ends of its jackknife interval over groups; NaN ends where a class
    is in a single group.
    """
    codes, weights = leave_one_out(groups)
    of_class = np.stack([labels == value for value in (0, 1)], axis=1).astype(float)
    hits = group_sums(of_class * correct[:, None], codes, weights)
    count = group_sums(of_class, codes, weights)
    with np.errstate(invalid="ignore"):
        values = (hits / count).mean(axis=1)
    return float(values[0]), *jackknife_interval(values).tolist()


def tumor_by_layer(
    features: Mapping[str, Mapping[str, OfFolds]], patches: PatchSet, splits: Folds
) -> pd.DataFrame:
    """Fit a linear head to every layer, and score it within tumour images, on unseen groups.

    Parameters
    ----------
    features : mapping of str to (mapping of str to array, (N, C), or to a sequence of them)
        Features by network and layer, of one network or of one per split.
    patches : PatchSet
        The N patches.
    splits : sequence of (array, array)
        Indices of the patches to fit to, and of those that are held out.

    Returns
    -------
    DataFrame, one row per ``network`` and ``layer``
        ``balanced_accuracy`` of the held-out patches of all splits in images with both classes,
        ``low`` to ``high``, its 95 % interval over groups, and numbers of ``patches`` and
        ``groups``.
    """
    inside = patches.in_tumor_images
    rows = []
    layers = [(network, layer) for network, by_layer in features.items() for layer in by_layer]
    for network, layer in progress_bar(layers, desc="tumor by layer", unit="layer"):
        scored, correct = [], []
        for fold, (train, test) in enumerate(splits):
            test = test[inside[test]]
            x = of_fold(features[network][layer], fold)
            kernel, bias = fit_head(x[train], patches.labels[train])
            scored.append(test)
            correct.append((x[test] @ kernel + bias > 0) == (patches.labels[test] == 1))
        scored, correct = np.concatenate(scored), np.concatenate(correct)
        groups = patches.groups[scored]
        accuracy = balanced_accuracy(correct, patches.labels[scored], groups)
        rows.append((network, layer, *accuracy, len(scored), len(np.unique(groups))))
    columns = ["network", "layer", "balanced_accuracy", "low", "high", "patches", "groups"]
    return pd.DataFrame(rows, columns=columns)
