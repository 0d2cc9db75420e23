"""Heat maps of correctly and of wrongly classified patches of each class."""

from dataclasses import dataclass

import numpy as np

from utils.heatmaps.maps import explain
from utils.networks import Model
from utils.patches import PatchSet


@dataclass(frozen=True)
class ExplainedPatches:
    """Heat maps of some patches of one class and outcome.

    Attributes
    ----------
    class_name, outcome : str
        Class of the patches, which is the target; ``correct`` or ``wrong``.
    count : int
        Number of patches of this class and outcome, from which the n explained ones are drawn.
    index : array, (n,)
        Indices among all patches.
    patches : PatchSet
        The explained patches.
    probability : array, (n,)
        Probability of tumor.
    maps : dict of str to array, (n, H, W), float32 in [0, 1]
        Heat maps by method.
    """

    class_name: str
    outcome: str
    count: int
    index: np.ndarray
    patches: PatchSet
    probability: np.ndarray
    maps: dict[str, np.ndarray]


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
        One per class and outcome that has patches.
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
