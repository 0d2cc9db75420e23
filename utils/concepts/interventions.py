"""Whether the logit moves as a concept vector says, when the pixels change the concept.

A vector tells what happens when the features follow a concept. Where a concept can be changed in
the pixels themselves, the change of the logit can be observed, and compared with that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr
from skimage.color import rgb_from_hed

from utils.concepts.folds import Folds
from utils.concepts.measures import MEASURES
from utils.concepts.regression import Regression
from utils.networks import Finetuning, average_seeds, pool
from utils.once import Once, directly
from utils.patches import PatchSet, to_uint8
from utils.patches.images import haematoxylin
from utils.progress import progress_bar
from utils.statistics import intervals

DARKEST = 1e-6  # intensity of the density 1 in scikit-image
RIM = 3  # pixels around an enlarged nucleus in which its own edge fades into the tissue
_CHANGES = ["concept_change", "logit_change"]


@dataclass(frozen=True)
class Intervention:
    """A change of pixels that is meant to change one concept."""

    title: str
    concept: str
    measures: str  # set of the concept, by its name in `MEASURES`
    change: Callable[[PatchSet], PatchSet]


def scale_haematoxylin(patches: PatchSet, factor: float) -> PatchSet:
    """Multiply the density of haematoxylin; eosin and what neither explains stay as they are."""

    def scale(image: np.ndarray) -> np.ndarray:
        added = (factor - 1) * haematoxylin(image)[..., None] * rgb_from_hed[0]
        return to_uint8(image / 255 * DARKEST**added)

    return _with_images(patches, scale, "haematoxylin")


def blur(patches: PatchSet, sigma: float) -> PatchSet:
    """Blur patches by a Gaussian, whose standard deviation is in pixels."""
    return _with_images(patches, lambda image: cv2.GaussianBlur(image, (0, 0), sigma), "blur")


def _with_images(patches: PatchSet, change: Callable, description: str) -> PatchSet:
    images = progress_bar(patches.images, desc=description, unit="patch")
    return replace(patches, images=np.stack([change(np.asarray(image)) for image in images]))


def enlarge_nuclei(patches: PatchSet, factor: float) -> PatchSet:
    """Enlarge every nucleus about its centre, with its pixels, as far as no other one is nearer.

    Parameters
    ----------
    patches : PatchSet
        N patches with masks and numbers of nuclei.
    factor : float
        Linear factor, at least 1.

    Returns
    -------
    PatchSet
        The same patches with other images, masks and numbers of nuclei. Pixels that several
        enlarged nuclei cover go to the one whose original outline is nearest, and if two are
        equally near, to the one with the lower number: no nucleus loses pixels to another. Nuclei
        that the border of the patch does not cut stop short of it, so that they stay whole.
    """
    if factor < 1:
        raise ValueError(f"factor is {factor}; expected at least 1: nuclei hide what is below.")
    arrays = [np.array(a) for a in (patches.images, patches.masks, patches.nuclei)]
    for index in progress_bar(range(len(patches)), desc="enlarge nuclei", unit="patch"):
        changed = _enlarge(*(array[index] for array in arrays), factor)
        for array, values in zip(arrays, changed, strict=True):
            array[index] = values
    return replace(patches, **dict(zip(("images", "masks", "nuclei"), arrays, strict=True)))


def _enlarge(
    image: np.ndarray, types: np.ndarray, nuclei: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Enlarge the nuclei of one patch, given and returned as image, types and numbers."""
    types, numbers = types.copy(), nuclei.copy()
    nearest = np.where(nuclei > 0, 0, np.inf)
    border = np.pad(np.zeros(np.subtract(nuclei.shape, 2), bool), 1, constant_values=True)
    moved, enlarged = np.zeros(nuclei.shape, bool), {}
    for number in np.unique(nuclei[nuclei > 0]):
        inside = nuclei == number
        centre = np.argwhere(inside).mean(axis=0)[::-1]
        matrix = np.column_stack([factor * np.eye(2), (1 - factor) * centre])
        # Pixels come from between their place and the centre: none is missing.
        options = {"dsize": nuclei.shape[::-1], "borderMode": cv2.BORDER_REPLICATE}
        enlarged[number] = cv2.warpAffine(image, matrix, flags=cv2.INTER_CUBIC, **options)
        reached = cv2.warpAffine(np.float32(inside), matrix, **options) > 0.5
        if not (inside & border).any():
            reached &= ~border
        distance = cv2.distanceTransform(np.uint8(~inside), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        taken = reached & (inside | (distance < nearest))
        nearest[taken] = distance[taken]
        types[taken & ~inside] = np.bincount(types[inside]).argmax()
        numbers[taken] = number
        moved |= taken
    if not enlarged:
        return image, types, numbers
    # Outlines are often drawn inside of a soft edge, without which nuclei look cut out.
    away, place = distance_transform_edt(numbers == 0, return_indices=True)
    share = np.where(numbers > 0, moved, np.clip(1 - away / (RIM + 1), 0, 1))[..., None]
    nearby, pixels = numbers[tuple(place)], np.zeros(image.shape)
    for number, values in enlarged.items():
        pixels[nearby == number] = values[nearby == number]
    return np.uint8(np.round(share * pixels + (1 - share) * image)), types, numbers


_more, _less = (partial(scale_haematoxylin, factor=factor) for factor in (1.25, 0.8))
_larger = partial(enlarge_nuclei, factor=1.25)
_STAIN = "haematoxylin", "stain"
INTERVENTIONS = {
    "more haematoxylin": Intervention("haematoxylin × 1.25", *_STAIN, _more),
    "less haematoxylin": Intervention("haematoxylin × 0.8", *_STAIN, _less),
    "blurred": Intervention("blurred, σ = 1.5", "contrast", "texture", partial(blur, sigma=1.5)),
    "larger nuclei": Intervention("nuclei enlarged × 1.25", "area", "nuclei", _larger),
}


def intervention_effects(
    finetunings: Sequence[Finetuning],
    patches: PatchSet,
    *,
    chosen: np.ndarray | None = None,
    interventions: Mapping[str, Intervention] = INTERVENTIONS,
    options: Mapping[str, Mapping] | None = None,
    once: Once = directly,
) -> pd.DataFrame:
    """Change concepts in pixels, and measure by how much they and the predictions change.

    Parameters
    ----------
    finetunings : sequence of Finetuning
        Each network is asked about the patches that it has not seen.
    patches : PatchSet
    chosen : array of int, optional
        Indices of the patches that are changed, best of tumour images; by default all.
    interventions : mapping of str to Intervention
    options : mapping of str to mapping, optional
        Options of the measures by the name of their set, as in ``{"texture": {"distances": [5]}}``.
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.

    Returns
    -------
    DataFrame, one row per intervention and patch
        ``intervention``, ``measures`` and ``concept`` (names of the set and of the concept),
        ``patch`` (counted in `patches`), ``group``, ``concept_change`` (in units of the measure)
        and ``logit_change`` (of the log-odds of tumor), each after minus before; averaged over the
        networks that were asked about the same patch. Patches without the measure are left out.
    """
    chosen = np.arange(len(patches)) if chosen is None else np.asarray(chosen)

    def measure(one: Finetuning, unseen: PatchSet) -> pd.DataFrame:
        return _effects(one.model, unseen, interventions, options or {}, once)

    table = average_seeds(pool(finetunings, patches.select(chosen), measure), _CHANGES)
    if table.empty:
        raise ValueError("no patch is unseen by a network and has a measure: choose others.")
    return table.assign(patch=chosen[table["patch"]])


def _effects(model, patches, interventions, options, once) -> pd.DataFrame:
    """Tabulate the changes of concept and logit, of one network."""
    rows = []
    before = once(model.log_odds, patches.images) if len(patches) else []
    changes = interventions.items() if len(patches) else ()
    for name, one in progress_bar(changes, desc="interventions", unit="change"):
        measure, about = MEASURES[one.measures].measure, options.get(one.measures, {})
        start = once(measure, patches, **about)[one.concept].to_numpy()
        known = np.flatnonzero(np.isfinite(start))
        if not len(known):
            continue
        changed = one.change(patches.select(known))
        concept = once(measure, changed, **about)[one.concept].to_numpy() - start[known]
        logit = once(model.log_odds, changed.images) - before[known]
        values = zip(known, patches.groups[known], concept, logit, strict=True)
        names = name, one.measures, one.concept
        rows += [(*names, *row) for row in values if np.isfinite(row[2])]
    columns = ["intervention", "measures", "concept", "patch", "group", *_CHANGES]
    types = {"patch": int} | dict.fromkeys(_CHANGES, float)
    return pd.DataFrame(rows, columns=columns).astype(types)


def scored_patches(known: np.ndarray, splits: Folds | None = None) -> np.ndarray:
    """Return the indices of the patches that the rows of a `Regression` are of.

    Parameters
    ----------
    known : array, (N,), bool
        Whether a patch has all measures, as in `Analysis`.
    splits : sequence of (array, array), optional
        Indices of training and held-out patches, as `analyse` was given them.

    Returns
    -------
    array of int, ascending
    """
    if not splits:
        return np.flatnonzero(known)
    held_out = np.unique(np.concatenate([test for _, test in splits]))
    return held_out[known[held_out]]


def compare_with_vectors(
    effects: pd.DataFrame,
    regressions: Mapping[str, Mapping[str, Regression]],
    measures: pd.DataFrame,
    indices: np.ndarray,
) -> pd.DataFrame:
    """Compare changes of the logit with those that the vector of each concept predicts.

    The prediction is `Regression.effect` of the patch, the change of the logit for one standard
    deviation of the concept, times the change of the concept in standard deviations over all
    patches that have all measures; those of single training parts differ slightly.

    Parameters
    ----------
    effects : DataFrame, from `intervention_effects`
        Rows of one set of measures.
    regressions : mapping of str to (mapping of str to Regression)
        By network and layer, as in `Analysis`, of the same set of measures; those of
        ``finetuned``, ``finetuned 2`` and so on are averaged.
    measures : DataFrame
        Measures that were regressed, one row per patch.
    indices : array of int
        Index of the patch of each row of the regressions, from `scored_patches`.

    Returns
    -------
    DataFrame, one row per ``intervention`` and ``layer``
        ``concept``, mean changes of the logit, ``predicted`` and ``actual``, each group counting
        once, with 95 % intervals over groups (``predicted_low`` and so on), ``spearman``, their
        rank correlation over patches (NaN where either is constant), and numbers of ``n`` patches
        and ``groups``.
    """
    changes = _predictions(effects, regressions, measures, indices)
    keys, sides = ["intervention", "concept", "layer"], ["predicted", "actual"]
    tables = []
    for side in sides:
        table = intervals(changes, keys, [side]).drop(columns="measure")
        names = {"mean": side, "low": f"{side}_low", "high": f"{side}_high"}
        tables.append(table.rename(columns=names))
    ranks = changes.groupby(keys, sort=False)[sides].apply(_rank_correlation).rename("spearman")
    return tables[0].merge(tables[1], on=[*keys, "n", "groups"]).merge(ranks.reset_index(), on=keys)


def _predictions(effects, regressions, measures, indices) -> pd.DataFrame:
    """Tabulate ``predicted`` and ``actual`` changes of the logit by patch and ``layer``."""
    seeds = [by for name, by in regressions.items() if name.partition(" ")[0] == "finetuned"]
    one = next(iter(seeds[0].values()))
    wanted, sets = (effects[name].unique().tolist() for name in ("concept", "measures"))
    if len(sets) > 1 or not set(wanted) <= set(one.concepts):
        raise ValueError(
            f"the effects are on {wanted} of {sets}, the regressions of {list(one.concepts)}: give "
            "those of one set of measures."
        )
    effects = effects[effects["patch"].isin(indices)]
    if effects.empty:
        raise ValueError("no patch has both effects and regressions: change held-out patches.")
    rows = pd.Index(indices).get_indexer(effects["patch"])
    if len(one.groups) != len(indices) or (one.groups[rows] != effects["group"]).any():
        raise ValueError(
            f"the {len(indices)} indices are not those of the {len(one.groups)} patches that were "
            "regressed: take them from scored_patches, with the splits of the regressions."
        )
    columns = pd.Index(one.concepts).get_indexer(effects["concept"])
    deviation = effects["concept"].map(measures.dropna().std(ddof=0))
    tables = []
    for layer in seeds[0]:
        effect = np.mean([by[layer].effect[rows, columns] for by in seeds], axis=0)
        if np.isnan(effect).any():
            raise ValueError(f"{layer} was regressed without gradients: give them to regress.")
        predicted = effect * effects["concept_change"] / deviation
        both = {"predicted": predicted, "actual": effects["logit_change"]}
        tables.append(effects.assign(layer=layer, **both))
    table = pd.concat(tables, ignore_index=True)
    return table.sort_values("intervention", kind="stable", key=lambda x: pd.factorize(x)[0])


def _rank_correlation(rows: pd.DataFrame) -> float:
    constant = (np.ptp(rows.to_numpy(), axis=0) == 0).any()
    return np.nan if constant else spearmanr(rows["predicted"], rows["actual"]).statistic
