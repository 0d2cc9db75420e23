"""Heat maps: which parts of a patch are evidence for a class."""

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from utils.heatmaps.methods import METHODS, MODIFIERS, SIGNS, coarse_maps
from utils.heatmaps.placement import (
    INTERPOLATIONS,
    Turned,
    all_turns,
    place,
    stretch,
    turn_back,
    warn_of_stretch,
)
from utils.networks import Model, positions
from utils.patches import PatchSet

PLACEMENTS = ("centres", "stretched")
CHOICES = {"methods": METHODS, "target": SIGNS}
CHOICES |= {"modifier": MODIFIERS, "interpolation": INTERPOLATIONS, "placement": PLACEMENTS}

Maps = Mapping[str, np.ndarray]  # heat maps, (N, H, W), by method


class DeadMaps(UserWarning):
    """Some heat maps are all zeros."""


class HeatMapBatch(NamedTuple):
    """Heat maps of n patches, ``(n, H, W)``, by layer and method, and log-odds of tumor, (n,)."""

    maps: dict[str, dict[str, np.ndarray]]
    logit: np.ndarray


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


def explain(
    model: Model, images: np.ndarray, *, layer: str | None = None, **options
) -> dict[str, np.ndarray]:
    """Compute heat maps of one layer, all methods from one forward and one backward pass.

    Parameters
    ----------
    model : Model
        A classifier of tumor.
    images : array, (N, H, W, 3), uint8
    layer : str, optional
        Analysis layer, by default the network's last sound one with spatial extent.
    **options
        ``methods``, ``target``, ``modifier``, ``interpolation``, ``placement``, ``turns``,
        ``scaled`` and ``batch_size``, as in `stream`.

    Returns
    -------
    dict of str to array, (N, H, W), float32 in [0, 1]
        Maps by method, each divided by its largest absolute value (signed ones are in [-1, 1]); a
        warning counts those without any evidence, which are all zeros.
    """
    layer = layer or model.cam_layer
    return explain_layers(model, images, [layer], **options)[layer]


def explain_layers(
    model: Model, images: np.ndarray, layers: Sequence[str], *, target: str = "tumor", **options
) -> dict[str, dict[str, np.ndarray]]:
    """Compute heat maps of several layers from the same passes.

    Parameters
    ----------
    model, images, layers, target, **options
        As in `explain`, but for several layers.

    Returns
    -------
    dict of str to dict of str to array, (N, H, W), float32 in [0, 1]
        Maps by layer and method.
    """
    batches = stream(model, images, layers, target=target, **options)
    maps_of_batches, logits = zip(*batches, strict=True)
    against = SIGNS[target] * np.concatenate(logits) < 0
    by_layer = tf.nest.map_structure(lambda *maps: np.concatenate(maps), *maps_of_batches)
    for layer, by_method in by_layer.items():
        for method, maps in by_method.items():
            dead = ~maps.any(axis=(1, 2))
            if dead.any():
                warnings.warn(
                    f"{model.title}: {dead.sum()} of {len(maps)} {method} maps of {layer} are all "
                    f"zero: no position passes as evidence for {target}. "
                    f"{np.sum(dead & against)} of these patches are not classified as {target}.",
                    DeadMaps,
                    stacklevel=2,
                )
    return by_layer


def stream(
    model: Model,
    images: np.ndarray,
    layers: Sequence[str],
    *,
    methods: Sequence[str] = ("gradcam", "gradcam++"),
    target: str = "tumor",
    modifier: str = "relu",
    interpolation: str = "linear",
    placement: str = "centres",
    turns: bool = False,
    scaled: bool = True,
    batch_size: int = 32,
) -> Iterator[HeatMapBatch]:
    """Compute heat maps batch by batch, for more patches than maps would fit in memory.

    Parameters
    ----------
    model, images
        As in `explain`; `images` may be memory-mapped.
    layers, methods : sequence of str
        Analysis layers with spatial extent, and names in `METHODS`. Maps of methods of the input
        are the same for all layers.
    target : str
        ``tumor`` to explain the log-odds of tumor, ``normal`` their negative.
    modifier : str
        Evidence that is kept: ``relu`` for, ``negate`` against the target, ``absolute`` both, or
        ``signed`` both with their signs (of methods that have any).
    interpolation : str
        ``linear``, ``cubic`` or ``nearest``.
    placement : str
        ``centres`` puts each value at the centre of what its position sees; ``stretched`` spreads
        them evenly over the patch, as is usual, and warns by how many pixels they lie off.
    turns : bool
        Whether maps are averaged over the patch's turns and mirror images (8, or 4 if it is not
        square).
    scaled : bool
        Whether each map is divided by its largest absolute value; maps of several patches can be
        compared only where they are not.
    batch_size : int
        Number of patches per pass.

    Yields
    ------
    HeatMapBatch
        ``maps`` by layer and method, float32, in [0, 1] if scaled, and ``logit``, the log-odds of
        tumor.
    """
    choices = {"modifier": modifier, "interpolation": interpolation, "placement": placement}
    _check_options(methods, target=target, **choices)
    model.check_spatial(layers)
    size = tuple(images.shape[1:3])
    located = {layer: positions(model, layer, size) for layer in layers}
    if placement == "stretched":
        warn_of_stretch(located, size)

    def refine(layer: str, method: str, evidence: np.ndarray) -> np.ndarray:
        heat = MODIFIERS[modifier](evidence)
        if METHODS[method].of == "input":
            return heat
        if placement == "stretched":
            return stretch(heat, size, interpolation)
        return place(heat, located[layer], size, interpolation)

    arguments = tuple(layers), tuple(METHODS[name] for name in methods), target
    directions = all_turns(size) if turns else [(0, 1)]
    for evidence, logit in _turned_passes(model, images, directions, batch_size, *arguments):
        maps: dict[str, dict[str, np.ndarray]] = {}
        for layer, method in product(layers, methods):
            directed = [
                turn_back(refine(layer, method, coarse[layer][method].numpy()), *direction)
                for coarse, direction in zip(evidence, directions, strict=True)
            ]
            heat = np.mean(directed, axis=0, dtype=np.float32) if turns else directed[0]
            if modifier != "signed":
                heat = np.maximum(heat, 0)  # cubic interpolation overshoots
            maps.setdefault(layer, {})[method] = divide_by_peak(heat) if scaled else heat
        yield HeatMapBatch(maps, logit)


def _turned_passes(
    model: Model,
    images: np.ndarray,
    directions: Sequence[tuple[int, int]],
    batch_size: int,
    *arguments: Hashable,
) -> Iterator[tuple[list[dict], np.ndarray]]:
    """Yield the coarse maps of a batch for each turn, and the logit of the first."""
    passes = [
        model.map(
            *(coarse_maps, *arguments),
            images=Turned(images, *direction),
            batch_size=batch_size,
            description=None if index else "explain",
        )
        for index, direction in enumerate(directions)
    ]
    for turned in zip(*passes, strict=True):
        yield [maps for maps, _ in turned], turned[0][1].numpy()


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
    model, patches : Model and PatchSet
    probability : array, (N,)
        Probability of tumor, from `Model.predict`.
    per_class, seed : int
        Largest number of patches per class and outcome, and seed of the draw.
    **options
        As in `explain`; the target is the class of the patches.

    Returns
    -------
    list of ExplainedPatches, one for each class and outcome that has patches
    """
    right = (probability >= 0.5) == (patches.labels == 1)
    explained = []
    for (label, name), outcome in product(enumerate(patches.class_names), ("correct", "wrong")):
        chosen = np.flatnonzero((patches.labels == label) & (right == (outcome == "correct")))
        if len(chosen):
            index = chosen[patches.select(chosen).sample_indices(per_class, seed=seed)]
            drawn = patches.select(index).load()
            group = name, outcome, len(chosen), index, drawn, probability[index]
            maps = explain(model, drawn.images, target=name, **options)
            explained.append(ExplainedPatches(*group, maps))
    return explained


def _check_options(methods: Sequence[str], **options: str) -> None:
    if isinstance(methods, str) or not methods:
        raise ValueError(f'methods are {methods!r}; expected a list of names such as ["gradcam"].')
    for name, value in [*(("methods", method) for method in methods), *options.items()]:
        if value not in CHOICES[name]:
            known = ", ".join(CHOICES[name])
            raise ValueError(f"{name}: {value!r} is unknown; expected one of {known}.")
    for name in methods:
        if options["modifier"] == "negate" and not METHODS[name].signed:
            raise ValueError(f"{name} has no evidence against a target: explain the other target.")


def divide_by_peak(maps: np.ndarray) -> np.ndarray:
    """Divide each map, ``(n, H, W)``, by its peak; maps of zeros stay as they are."""
    highest, lowest = maps.max(axis=(1, 2), keepdims=True), maps.min(axis=(1, 2), keepdims=True)
    peaks = np.maximum(highest, -lowest)
    return maps / np.where(peaks > 0, peaks, 1)
