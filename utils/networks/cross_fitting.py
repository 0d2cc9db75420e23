"""What each finetuned network has and has not seen, and predictions of what it has not."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from utils.networks.gate import gate
from utils.networks.model import Model, layer_features_and_gradients
from utils.once import Once, directly
from utils.patches import PatchSet

UNKNOWN = "held-out groups unknown"


@dataclass(frozen=True)
class Finetuning:
    """A finetuned network, and which groups it has and has not seen."""

    model: Model
    manifest: Mapping  # empty for a checkpoint without one

    def unseen(self, patches: PatchSet) -> np.ndarray:
        """Whether patches are of groups that it was not trained on, ``(N,)``; all, if unknown."""
        return ~self.seen(patches)

    def seen(self, patches: PatchSet) -> np.ndarray:
        """Whether patches are of groups of the training, ``(N,)``; none of them, if unknown."""
        return np.isin(patches.groups, self.manifest.get("trained_on", []))

    @property
    def title(self) -> str:
        """Fold and seed, or the checkpoint's name."""
        if not self.manifest:
            return Path(self.model.weights).name
        return "fold {fold}, seed {seed}".format(**self.manifest["options"])


def gates(finetunings: Sequence[Finetuning], patches: PatchSet) -> pd.DataFrame:
    """Collect the gates of finetuned networks, which say whether they are finetuned.

    Parameters
    ----------
    finetunings : sequence of Finetuning
    patches : PatchSet
        Patches on which a network without a manifest is tested.

    Returns
    -------
    DataFrame
        Table of `gate` for each network, with its ``finetuning``: fold and seed, or file.
    """
    tables = []
    for one in finetunings:
        known = "gate" in one.manifest
        table = pd.DataFrame(one.manifest["gate"]) if known else gate(one.model, patches)
        tables.append(table.assign(finetuning=one.title if known else f"{one.title}, {UNKNOWN}"))
    return pd.concat(tables, ignore_index=True).iloc[:, [-1, *range(4)]]


def unseen_by_any(finetunings: Sequence[Finetuning], patches: PatchSet) -> PatchSet:
    """Keep the patches that at least one of the networks has not seen.

    Parameters
    ----------
    finetunings : sequence of Finetuning
    patches : PatchSet
        A warning says if their pixels are of another size than those of the finetuning.

    Returns
    -------
    PatchSet
    """
    microns = {one.manifest.get("microns_per_pixel") for one in finetunings} - {None}
    size = patches.microns_per_pixel
    if other := sorted(value for value in microns if size and abs(size / value - 1) > 0.1):
        warnings.warn(
            f"{patches.name} has {size:g} micrometres per pixel, but the network was finetuned on "
            f"patches of {other[0]:g}: nuclei have another size than it knows.",
            stacklevel=2,
        )
    unseen = np.any([one.unseen(patches) for one in finetunings], axis=0)
    if not unseen.any():
        raise ValueError(
            f"every network was trained on all groups of {patches}: give patches of other groups."
        )
    return patches.select(unseen)


def sample_unseen(
    finetunings: Sequence[Finetuning], patches: PatchSet, per_class: int, *, seed: int = 0
) -> PatchSet:
    """Draw patches that each of the networks has not seen, evenly over groups.

    Parameters
    ----------
    finetunings : sequence of Finetuning
    patches : PatchSet
    per_class, seed : int
        Largest number of patches per network and class, and seed of the draw.

    Returns
    -------
    PatchSet
        The patches of all draws, each once.
    """
    drawn = set()
    for one in finetunings:
        unseen = np.flatnonzero(one.unseen(patches))
        drawn |= {*unseen[patches.select(unseen).sample_indices(per_class, seed=seed)]}
    return patches.select(sorted(drawn))


def pool(
    finetunings: Sequence[Finetuning],
    patches: PatchSet,
    measure: Callable[[Finetuning, PatchSet], pd.DataFrame | tuple[pd.DataFrame, ...]],
) -> pd.DataFrame | tuple[pd.DataFrame, ...]:
    """Measure each network on the patches that it has not seen, and pool what was measured.

    Parameters
    ----------
    finetunings : sequence of Finetuning
    patches : PatchSet
    measure : callable
        Function of a Finetuning and a PatchSet, to a table or several, in which ``patch``, if
        there, is the number of the patch.

    Returns
    -------
    DataFrame, or tuple of DataFrame
        The tables, with the number of the ``finetuning``, and ``patch`` counted in `patches`.
    """
    measured = []
    for number, one in enumerate(finetunings):
        unseen = np.flatnonzero(one.unseen(patches))
        result = measure(one, patches.select(unseen))
        tables = (result,) if isinstance(result, pd.DataFrame) else result
        numbered = [table.assign(finetuning=number) for table in tables]
        for table in numbered:
            if "patch" in table:
                table["patch"] = unseen[table["patch"]]
        measured.append(numbered)
    pooled = tuple(pd.concat(tables, ignore_index=True) for tables in zip(*measured, strict=True))
    return pooled[0] if isinstance(result, pd.DataFrame) else pooled


def average_seeds(table: pd.DataFrame, values: Sequence[str]) -> pd.DataFrame:
    """Average values over the networks that measured the same patch in the same way.

    Parameters
    ----------
    table : DataFrame, from `pool`
    values : sequence of str
        Columns to average; rows are the same if all others are.

    Returns
    -------
    DataFrame
        Without ``finetuning``; NaN are left out of the means.
    """
    keys = [name for name in table if name not in ("finetuning", *values)]
    return table.groupby(keys, sort=False, dropna=False)[list(values)].mean().reset_index()


def cross_predict(
    finetunings: Sequence[Finetuning], patches: PatchSet, *, once: Once = directly
) -> np.ndarray:
    """Predict each patch by the networks that have not seen its group, and average over them.

    Parameters
    ----------
    finetunings : sequence of Finetuning
    patches : PatchSet, from `unseen_by_any`
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.

    Returns
    -------
    array, (N,)
        Mean probability of tumor.
    """

    def predict(one: Finetuning, unseen: PatchSet) -> pd.DataFrame:
        probability = once(one.model.predict, unseen.images)
        return pd.DataFrame({"patch": range(len(unseen)), "probability": probability})

    table = pool(finetunings, patches, predict)
    return table.groupby("patch")["probability"].mean().to_numpy(np.float32)


def by_seed(finetunings: Sequence[Finetuning]) -> dict[str, list[Model]]:
    """Collect networks that held out different groups after training with the same seed.

    Parameters
    ----------
    finetunings : sequence of Finetuning

    Returns
    -------
    dict of list of Model
        One network per fold, by ``finetuned``, ``finetuned 2`` and so on, one per seed; networks
        without a manifest come one by one.
    """
    seeds: dict[object, list[Model]] = {}
    for number, one in enumerate(finetunings):
        seed = one.manifest["options"]["seed"] if one.manifest else f"checkpoint {number}"
        seeds.setdefault(seed, []).append(one.model)
    return numbered("finetuned", seeds.values())


def numbered(name: str, values: Iterable) -> dict:
    """Name values of one kind.

    Parameters
    ----------
    name : str
    values : iterable

    Returns
    -------
    dict
        The first by ``name``, the second by ``name 2``, and so on.
    """
    return {f"{name} {i + 1}" if i else name: value for i, value in enumerate(values)}


def splits(
    finetunings: Sequence[Finetuning], patches: PatchSet
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Return the indices of the patches that the networks were trained on, and have not seen.

    Parameters
    ----------
    finetunings : sequence of Finetuning
        Networks of one seed or several, all with the same folds.
    patches : PatchSet

    Returns
    -------
    list of (array, array), one per fold, or None if the groups of the training are unknown
    """
    folds: dict[object, list[tuple[str, ...]]] = {}
    sides = {}
    for one in finetunings:
        if not one.seen(patches).any():
            return None
        held_out = tuple(one.manifest["held_out"])
        folds.setdefault(one.manifest["options"]["seed"], []).append(held_out)
        sides[held_out] = tuple(map(np.flatnonzero, (one.seen(patches), one.unseen(patches))))
    if any(held_out != list(sides) for held_out in folds.values()):
        raise ValueError(
            "the networks of different seeds hold out different groups: give networks with the "
            "same folds for every seed, in one order."
        )
    return list(sides.values())


def layer_features_of_folds(
    models: Sequence[Model],
    images: np.ndarray,
    *,
    layers: Sequence[str] | None = None,
    once: Once = directly,
) -> tuple[dict, dict]:
    """Compute features and gradients of the networks of several folds.

    Parameters
    ----------
    models : sequence of Model, one per fold
    images, layers
        As in `layer_features`.
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.

    Returns
    -------
    features, gradients : dict of str to list of array, (N, C), float32
        As from `layer_features_and_gradients`, with one array per fold; of one model, arrays.
    """
    computed = [
        once(layer_features_and_gradients, model, images, layers=layers) for model in models
    ]
    if len(computed) == 1:
        return computed[0]
    by_layer = (
        {layer: [one[side][layer] for one in computed] for layer in computed[0][0]}
        for side in (0, 1)
    )
    return tuple(by_layer)
