"""Heat maps of correctly and of wrongly classified patches of each class."""

from dataclasses import dataclass

import numpy as np

from utils.heatmaps.maps import explain
from utils.networks import Model
from utils.patches import PatchSet


@dataclass(frozen=True)
class ExplainedPatches:
    """Heat maps of n patches of one class, which is the target, and outcome."""

    class_name: str
    outcome: str  # correct or wrong
    count: int  # of all patches of this class and outcome, from which the n are drawn
    index: np.ndarray  # (n,), among all patches
    patches: PatchSet
    probability: np.ndarray  # (n,), of tumor
    maps: dict[str, np.ndarray]  # (n, H, W), by method


def explain_by_outcome(
    model: Model,
    patches: PatchSet,
    probability: np.ndarray,
    per_class: int,
    *,
    seed: int = 0,
    **options,
) -> list[ExplainedPatches]:
    """Draw patches of each class, correctly and wrongly classified ones apart, and explain them.

    Parameters
    ----------
    model : Model
        A classifier of tumor.
    patches : PatchSet
        Patches to draw from.
    probability : array, (N,)
        Probability of tumor, from `Model.predict`.
    per_class : int
        Largest number of patches per class and outcome.
    seed : int
        Seed of the draw.
    **options
        As in `explain`; the target is the class of the patches.

    Returns
    -------
    list of ExplainedPatches
        One per class and outcome that has patches: ``class_name``, ``outcome``, ``count`` (of all
        such patches), ``index``, ``patches``, ``probability`` and ``maps`` of the drawn ones.
    """
    right = (probability >= 0.5) == (patches.labels == 1)
    explained = []
    for label, name in enumerate(patches.class_names):
        for outcome, of_outcome in {"correct": right, "wrong": ~right}.items():
            chosen = np.flatnonzero(of_outcome & (patches.labels == label))
            if not len(chosen):
                continue
            index = chosen[patches.select(chosen).sample_indices(per_class, seed=seed)]
            drawn = patches.select(index)
            maps = explain(model, drawn.images, target=name, **options)
            explained.append(
                ExplainedPatches(name, outcome, len(chosen), index, drawn, probability[index], maps)
            )
    return explained
