"""What nuclei do to the prediction: how the log-odds of tumor change without them.

A nucleus is filled from the tissue around it (Bertalmio et al. 2001). The same shape filled where
there is no nucleus tells what filling does by itself.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from utils.heatmaps.baselines import baseline_maps
from utils.heatmaps.comparison import signed_maps
from utils.heatmaps.maps import Maps
from utils.networks import Finetuning, Model, average_seeds, pool
from utils.once import Once, directly
from utils.patches import PatchSet
from utils.patches.images import nuclei_table
from utils.progress import progress_bar

MARGIN = 2  # pixels around a nucleus that are filled too, where no other nucleus is
RADIUS = 3  # pixels around a filled one from which it takes its colour
LEAST_NUCLEI = 5  # of a patch, for a rank correlation
KERNEL_WIDTH = 0.25  # of LIME's weights, in units of the cosine distance (Ribeiro et al. 2016)


def fill(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill the pixels of a mask, ``(H, W)``, from what surrounds them."""
    if mask.all():
        raise ValueError(
            "the nuclei to be removed cover the whole patch: there is no tissue to fill them from; "
            "take larger patches or leave this one out."
        )
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return image
    filled = image.copy()
    box = tuple(  # all that the result depends on
        slice(max(lines[0] - 2 * RADIUS, 0), lines[-1] + 2 * RADIUS + 1)
        for lines in (rows, columns)
    )
    if mask[box].all():
        box = (slice(None), slice(None))
    inside = np.ascontiguousarray(image[box]), np.uint8(mask[box])
    filled[box] = cv2.inpaint(*inside, RADIUS, cv2.INPAINT_NS)
    return filled


def without(image: np.ndarray, nuclei: np.ndarray, removed: Sequence[int]) -> np.ndarray:
    """Remove nuclei, by their numbers in `nuclei`, ``(H, W)``, with a margin."""
    mask = np.isin(nuclei, removed)
    wide = cv2.dilate(np.uint8(mask), np.ones((2 * MARGIN + 1,) * 2, np.uint8)) > 0
    return fill(image, mask | (wide & (nuclei == 0)))


def moved_elsewhere(
    image: np.ndarray, nuclei: np.ndarray, number: int, generator: np.random.Generator
) -> np.ndarray | None:
    """Fill a nucleus' shape at a random place far from all nuclei; None if there is none."""
    rows, columns = np.nonzero(nuclei == number)
    shape = np.zeros((np.ptp(rows) + 1, np.ptp(columns) + 1), np.uint8)
    shape[rows - rows.min(), columns - columns.min()] = 1
    reach = 2 * (MARGIN + RADIUS) + 1
    free = 1 - cv2.dilate(np.uint8(nuclei > 0), np.ones((reach, reach), np.uint8))
    room = cv2.erode(free, shape, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    places = np.argwhere(room)
    if not len(places):
        return None
    row, column = generator.choice(places)
    around = np.where(nuclei > 0, 2, 0)
    around[row : row + shape.shape[0], column : column + shape.shape[1]] += shape
    return without(image, around, [1])


def _patches_with_nuclei(
    patches: PatchSet, table: pd.DataFrame, description: str
) -> Iterator[tuple[int, np.ndarray, np.ndarray, pd.DataFrame]]:
    """Yield number, image, numbers of nuclei and rows of each patch that has nuclei."""
    if covered := np.flatnonzero((patches.nuclei > 0).all(axis=(1, 2))).tolist():
        raise ValueError(
            f"patches {covered} are covered by nuclei: there is no tissue to fill them from; take "
            "larger patches or leave these out."
        )
    for index, rows in progress_bar(table.groupby("patch"), desc=description, unit="patch"):
        yield index, np.asarray(patches.images[index]), patches.nuclei[index], rows


def removal_effects(
    model: Model, patches: PatchSet, *, controls: bool = True, seed: int = 0
) -> pd.DataFrame:
    """Remove each nucleus alone, and the same shape where there is no nucleus.

    Parameters
    ----------
    model : Model
        A classifier of tumor.
    patches : PatchSet
        Patches with masks and numbers of nuclei.
    controls, seed : bool and int
        Whether shapes are filled where there is no nucleus, and the seed of these places.

    Returns
    -------
    DataFrame, one row per patch and nucleus
        The columns of `nuclei_table`, ``group``, ``change`` of the log-odds of tumor (before minus
        after: positive where the nucleus speaks for tumor), and ``control``, the change by filling
        the same shape elsewhere, NaN without such a place.
    """
    table = nuclei_table(patches)
    changes, of_controls = [], []
    for index, image, nuclei, rows in _patches_with_nuclei(patches, table, "remove nuclei"):
        numbers = rows["nucleus"]
        generator = np.random.default_rng([seed, index])
        elsewhere = [
            moved_elsewhere(image, nuclei, number, generator) if controls else None
            for number in numbers
        ]
        placed = [variant for variant in elsewhere if variant is not None]
        removed = [without(image, nuclei, [number]) for number in numbers]
        whole, *rest = model.log_odds(np.stack([image, *removed, *placed]))
        changes += (whole - np.array(rest[: len(removed)])).tolist()
        of_placed = iter(rest[len(removed) :])
        of_controls += [np.nan if v is None else float(whole - next(of_placed)) for v in elsewhere]
    groups = patches.groups[table["patch"].to_numpy(dtype=int)]
    return table.assign(group=groups, change=changes, control=of_controls)


def type_effects(model: Model, patches: PatchSet) -> pd.DataFrame:
    """Remove all nuclei of each type, and all nuclei but those.

    Parameters
    ----------
    model, patches
        As in `removal_effects`.

    Returns
    -------
    DataFrame, one row per patch and type of nucleus in it
        ``patch``, ``group``, ``type``, ``nuclei`` (number), ``necessity``: log-odds of tumor of the
        patch minus those without this type, and ``sufficiency``: log-odds with no other nuclei than
        these minus those without any nucleus.
    """
    rows = []
    everything = nuclei_table(patches)
    for index, image, nuclei, table in _patches_with_nuclei(patches, everything, "remove types"):
        numbers = {name: one["nucleus"].tolist() for name, one in table.groupby("type")}
        everyone = table["nucleus"].tolist()
        variants = [image, without(image, nuclei, everyone)]
        for chosen in numbers.values():
            others = [number for number in everyone if number not in chosen]
            variants += [without(image, nuclei, chosen), without(image, nuclei, others)]
        whole, empty, *rest = model.log_odds(np.stack(variants)).tolist()
        for place, (name, chosen) in enumerate(numbers.items()):
            effects = whole - rest[2 * place], rest[2 * place + 1] - empty
            rows.append((index, patches.groups[index], name, len(chosen), *effects))
    columns = ["patch", "group", "type", "nuclei", "necessity", "sufficiency"]
    return pd.DataFrame(rows, columns=columns)


def sharp_lime(
    model: Model, patches: PatchSet, *, samples: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Weigh nuclei by a ridge regression on random subsets of them (Graziani et al. 2021).

    Parameters
    ----------
    model, patches
        As in `removal_effects`.
    samples, seed : int
        Number of subsets per patch, and their seed.

    Returns
    -------
    DataFrame, one row per patch and nucleus
        ``patch``, ``nucleus`` and ``weight``: change of the log-odds of tumor by its presence.
    """
    tables = []
    for index, image, nuclei, rows in _patches_with_nuclei(
        patches, nuclei_table(patches), "Sharp-LIME"
    ):
        numbers = rows["nucleus"]
        generator = np.random.default_rng([seed, index])
        present = generator.integers(0, 2, (samples, len(numbers))).astype(bool)
        present[0] = True
        variants = [without(image, nuclei, numbers[~row].tolist()) for row in present]
        logit = model.log_odds(np.stack(variants))
        distance = 1 - np.sqrt(present.mean(axis=1))  # cosine, from the whole patch
        nearness = np.exp(-(distance**2) / KERNEL_WIDTH**2)
        weights = Ridge(alpha=1.0).fit(present, logit, sample_weight=nearness).coef_
        columns = {"patch": index, "nucleus": numbers.to_numpy(), "weight": weights}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def rank_agreement(
    maps: Maps, patches: PatchSet, effects: pd.DataFrame, column: str = "change"
) -> pd.DataFrame:
    """Compare the order in which maps and removals put the nuclei of a patch.

    Parameters
    ----------
    maps : mapping of str to array, (N, H, W)
        Heat maps for tumor by method; a nucleus counts by its mean.
    patches : PatchSet
    effects : DataFrame, from `removal_effects` or `sharp_lime`
    column : str
        Column of the effects.

    Returns
    -------
    DataFrame, one row per method and patch of at least five nuclei
        ``method``, ``patch``, ``group``, ``nuclei`` (number) and ``spearman``, NaN where the map or
        the effects are the same for all of them.
    """
    rows = []
    for index, table in effects.groupby("patch"):
        if len(table) < LEAST_NUCLEI:
            continue
        numbers, effect = table["nucleus"].to_numpy(), table[column].to_numpy()
        for method, heat in maps.items():
            inside = ndimage.mean(heat[index], patches.nuclei[index], numbers)
            constant = np.ptp(inside) == 0 or np.ptp(effect) == 0
            rank = np.nan if constant else spearmanr(inside, effect).statistic
            rows.append((method, index, patches.groups[index], len(table), rank))
    return pd.DataFrame(rows, columns=["method", "patch", "group", "nuclei", "spearman"])


def nuclei_of_finetunings(
    finetunings: Sequence[Finetuning], patches: PatchSet, *, seed: int = 0, once: Once = directly
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Ask what nuclei do to the predictions of finetuned networks, and whether maps tell.

    Parameters
    ----------
    finetunings : sequence of Finetuning
        Each network is asked about the patches that it has not seen.
    patches : PatchSet
        Patches with masks and numbers of nuclei.
    seed : int
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.

    Returns
    -------
    effects, types, agreement : DataFrame
        Tables of `removal_effects`, `type_effects` and `rank_agreement`, averaged over the networks
        that were asked about the same patch.
    """

    def measure(one: Finetuning, unseen: PatchSet) -> tuple[pd.DataFrame, ...]:
        effects = once(removal_effects, one.model, unseen, seed=seed)
        types = once(type_effects, one.model, unseen)
        signed = once(signed_maps, one.model, np.asarray(unseen.images), [one.model.cam_layer])
        baselines = baseline_maps(unseen.images, seed=seed)
        maps = {method: heat for (method, _), heat in signed.items()} | baselines
        del maps["uniform"]  # ranks nothing
        return effects, types, rank_agreement(maps, unseen, effects)

    pooled = pool(finetunings, patches, measure)
    values = ["change", "control"], ["necessity", "sufficiency"], ["spearman"]
    return tuple(average_seeds(t, names) for t, names in zip(pooled, values, strict=True))
