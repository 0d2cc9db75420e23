"""Is it finetuned? Measures of held-out predictions, their baselines, and the gate."""

import operator
from collections.abc import Mapping

import keras
import numpy as np
import pandas as pd
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from utils.networks.model import Model
from utils.networks.probe import fit_head
from utils.patches import PatchSet

LEAST_BALANCED = 0.90  # accuracy of both classes, averaged, within tumour images
BELOW_HEAD = 0.02  # by which it may be lower than that of a linear head on pretrained features
LEAST_GROUP, FEWEST = 0.70, 10  # accuracy of every group of that many patches
MOST_GREY = 0.3  # probability of tumor of a patch without any content
LEAST_TUMOR = 0.85  # mean probability of tumor of tumor patches
_RELATIONS = {"at least": operator.ge, "above": operator.gt, "below": operator.lt}
THRESHOLD = 0.5  # of the probability, from which a patch is called tumor


def evaluate(patches: PatchSet, probability: np.ndarray) -> dict:
    """Measure a classifier's predictions of held-out patches.

    Parameters
    ----------
    patches : PatchSet
    probability : array, (N,), of tumor

    Returns
    -------
    dict
        ``patches`` (number), ``auc``, ``accuracy`` and ``balanced_accuracy`` (threshold 0.5) over
        all patches, None where there is one class only; the same for the patches
        ``in_tumor_images``, ``by_source`` and ``by_group``.
    """

    def scores(rows: pd.DataFrame) -> dict:
        truth, score = rows["label"], rows["probability"]
        called = score >= THRESHOLD
        result = {"patches": len(rows), "auc": None, "balanced_accuracy": None}
        result["accuracy"] = round(float(accuracy_score(truth, called)), 4)
        if truth.nunique() == 2:
            result["auc"] = round(float(roc_auc_score(truth, score)), 4)
            balanced = balanced_accuracy_score(truth, called)
            result["balanced_accuracy"] = round(float(balanced), 4)
        return result

    table = pd.DataFrame({"label": patches.labels, "probability": probability})
    groups = pd.Series(patches.groups)
    result = scores(table)
    result["in_tumor_images"] = scores(table[patches.in_tumor_images])
    for name, keys in (("by_source", groups.str.split("/").str[0]), ("by_group", groups)):
        result[name] = {str(key): scores(rows) for key, rows in table.groupby(keys)}
    return result


def colour_features(patches: PatchSet) -> np.ndarray:
    """Measure the colours of patches, which know no texture and no shape.

    Parameters
    ----------
    patches : PatchSet
        N patches.

    Returns
    -------
    array, (N, 6)
        Mean and standard deviation of red, green and blue.
    """
    rows = [[*image.mean(axis=(0, 1)), *image.std(axis=(0, 1))] for image in patches.images]
    return np.array(rows)


def head_baselines(
    features: Mapping[str, np.ndarray],
    patches: PatchSet,
    training: np.ndarray,
    held_out: np.ndarray,
) -> dict[str, dict]:
    """Measure linear heads on several features, ``(N, C)`` by name.

    The masks, ``(N,)``, say to which patches they are fitted, and which are scored.
    """
    results = {}
    for name, x in features.items():
        kernel, bias = fit_head(x[training], patches.labels[training])
        logit = x[held_out].astype(np.float64) @ kernel + bias
        probability = 1 / (1 + np.exp(-np.clip(logit, -500, 500)))
        results[name] = evaluate(patches.select(held_out), probability)
    return results


def gate(
    model: Model,
    held_out: PatchSet,
    probability: np.ndarray | None = None,
    *,
    head: Mapping | None = None,
) -> pd.DataFrame:
    """Test whether a network is finetuned, on patches that it has not seen.

    Parameters
    ----------
    model : Model
    held_out : PatchSet
    probability : array, (N,), optional
        Probability of tumor of these patches, if it is known.
    head : mapping, optional
        Measures, from `evaluate`, of a linear head on the pretrained network's features, fitted to
        the same training patches. Without them its condition is undecided.

    Returns
    -------
    DataFrame, one row per condition
        ``condition``, ``value``, ``expected`` and ``passed`` (None where it cannot be measured).
    """
    if probability is None:
        probability = model.predict(held_out.images)
    measured = evaluate(held_out, probability)
    balanced = measured["in_tumor_images"]["balanced_accuracy"]
    under_head = head["in_tumor_images"]["balanced_accuracy"] if head else None
    lead = None if None in (balanced, under_head) else round(balanced - under_head, 4)
    large = {
        name: scores["accuracy"]
        for name, scores in measured["by_group"].items()
        if scores["patches"] >= FEWEST
    }
    worst = min(large, key=large.get, default="none has enough patches")
    grey = np.full((1, *held_out.images.shape[1:]), 128, np.uint8)
    tumor = probability[held_out.labels == 1]
    conditions = [
        ("balanced accuracy in tumour images", balanced, "at least", LEAST_BALANCED),
        ("its lead over a linear head on pretrained features", lead, "at least", -BELOW_HEAD),
        (f"worst accuracy of a group: {worst}", large.get(worst), "at least", LEAST_GROUP),
        ("p(tumor) of a grey patch", float(model.predict(grey)[0]), "below", MOST_GREY),
        ("mean p(tumor) of tumor", tumor.mean() if len(tumor) else None, "above", LEAST_TUMOR),
    ]
    rows = [
        {
            "condition": condition,
            "value": None if value is None else round(float(value), 4),
            "expected": f"{relation} {limit:g}",
            "passed": None if value is None else bool(_RELATIONS[relation](value, limit)),
        }
        for condition, value, relation, limit in conditions
    ]
    return pd.DataFrame(rows).astype({"value": object, "passed": object})


def changes(pretrained: Model, finetuned: Model) -> dict[str, float]:
    """Measure how far finetuning moved a network with one Dense head.

    Returns
    -------
    dict of float
        ``head``: standard deviation of the head's kernel, as a share of a random draw's (Glorot and
        Bengio 2010); ``kernels``: median over convolutions of the change's norm, as a share of the
        kernel's norm before.
    """
    *_, head = (x for x in finetuned.network.layers if isinstance(x, keras.layers.Dense))
    drawn = np.sqrt(2 / sum(head.kernel.shape))
    kernels = (  # by position: Keras numbers layers through the whole process
        [np.array(x.kernel) for x in model.network.layers if isinstance(x, keras.layers.Conv2D)]
        for model in (pretrained, finetuned)
    )
    moved = [
        np.linalg.norm(after - before) / np.linalg.norm(before)
        for before, after in zip(*kernels, strict=True)
        if before.any()
    ]
    return {"head": float(np.std(head.kernel) / drawn), "kernels": float(np.median(moved))}


def passed(table: pd.DataFrame) -> bool:
    """Whether no condition of `gate` failed, and at least the first could be measured."""
    return bool(table["passed"].iloc[0]) and not (table["passed"] == False).any()  # noqa: E712


def calibration(patches: PatchSet, probability: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Compare ``predicted`` mean probability and ``observed`` share of tumor, in equal bins.

    With the number of ``patches`` in each bin of probability; empty bins are left out.
    """
    observed, predicted = calibration_curve(patches.labels, probability, n_bins=bins)
    edges = np.linspace(0, 1, bins + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], probability), minlength=bins)
    columns = {"predicted": predicted, "observed": observed, "patches": counts[counts > 0]}
    return pd.DataFrame(columns)
