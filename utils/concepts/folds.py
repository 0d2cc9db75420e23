"""How patches are split, permuted and centred: by groups, images and classes."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from utils.statistics import centred

Folds = Sequence[tuple[np.ndarray, np.ndarray]]  # patches to train on and to hold out
OfFolds = np.ndarray | Sequence[np.ndarray]  # one array for all folds, or one per fold


def of_fold(arrays: OfFolds, fold: int) -> np.ndarray:
    """Return the array of a fold."""
    return arrays if isinstance(arrays, np.ndarray) else arrays[fold]


def fold_codes(groups: np.ndarray, folds: int) -> np.ndarray:
    """Number the groups of all patches, ``(N,)``, if they are enough for the folds."""
    names, codes = np.unique(groups, return_inverse=True)
    # Each training part is split once more, by groups, to choose the penalty.
    if folds < 2 or len(names) < folds or len(names) - -(-len(names) // folds) < 2:
        raise ValueError(
            f"there are {len(names)} groups for {folds} folds; expected at least two folds, one "
            "group per fold, and two groups in each training part."
        )
    return codes


def group_folds(codes: np.ndarray, folds: int, seed: int = 0) -> Folds:
    """Split patches into folds of whole groups.

    Parameters
    ----------
    codes : array, (N,)
        Group of each patch.
    folds, seed : int

    Returns
    -------
    list of (array, array)
        Indices of the patches to train on and to hold out, for each fold.
    """
    return list(GroupKFold(folds, shuffle=True, random_state=seed).split(codes, groups=codes))


def centring(images: np.ndarray, classes: np.ndarray | None, rows: np.ndarray) -> Callable:
    """Make the function that centres values of these rows within image and class, if given."""
    if classes is None and len(np.unique(images)) == 1:
        return lambda values: values
    known = [images] if classes is None else [images, classes]
    strata = pd.MultiIndex.from_arrays([np.asarray(names)[rows] for names in known])
    return partial(centred, strata=pd.factorize(strata)[0])


def permute_groups(
    codes: np.ndarray, generator: np.random.Generator, images: np.ndarray
) -> np.ndarray:
    """Order of patches that puts whole groups in the place of others, neighbours together.

    Groups stay in their image, as long as one group is in one image.
    """
    order = np.empty(len(codes), int)
    for image in np.unique(images):
        rows = np.flatnonzero(images == image)
        _, numbers = np.unique(codes[rows], return_inverse=True)
        places = np.argsort(generator.permutation(numbers.max() + 1))
        by_group = np.argsort(numbers, kind="stable")
        order[rows[by_group]] = rows[np.argsort(places[numbers], kind="stable")]
    return order
