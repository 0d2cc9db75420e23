"""Heat maps: which parts of a patch are evidence for a class.

All methods and layers come from one forward and one backward pass.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from utils.heatmaps.methods import METHODS, Method
from utils.networks import INPUT, Model
from utils.patches import PatchSet

MODIFIERS = {"relu": tf.nn.relu, "absolute": tf.abs, "negate": lambda m: tf.nn.relu(-m)}
INTERPOLATIONS = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}
CHOICES = {
    "methods": METHODS,
    "target": ("tumor", "normal"),
    "score": ("logit", "probability"),
    "modifier": MODIFIERS,
    "interpolation": INTERPOLATIONS,
}
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
    model: Model,
    images: np.ndarray,
    *,
    methods: Sequence[str] = ("gradcam", "gradcam++"),
    layer: str | None = None,
    target: str = "tumor",
    **options,
) -> dict[str, np.ndarray]:
    """Compute heat maps of one layer, all methods from one forward and one backward pass.

    Parameters
    ----------
    model : Model
        A classifier of tumor.
    images : array, (N, H, W, 3), uint8
        Patches.
    methods : sequence of str
        Names in `METHODS`; maps of methods of the input (``saliency``) do not depend on the layer.
    layer : str, optional
        Analysis layer, by default the backbone's last one with spatial extent.
    target : str
        ``tumor`` to explain the log-odds of tumor, ``normal`` their negative.
    **options
        ``score``, ``modifier``, ``interpolation`` and ``batch_size``, as in `stream`.

    Returns
    -------
    dict of str to array, (N, H, W), float32 in [0, 1]
        Maps by method, each divided by its maximum. A map without any evidence is all zeros; a
        warning says how many are, and how these patches are classified.
    """
    layer = layer or model.backbone.cam_layer
    by_layer = explain_layers(model, images, [layer], methods=methods, target=target, **options)
    return by_layer[layer]


def explain_layers(
    model: Model,
    images: np.ndarray,
    layers: Sequence[str],
    *,
    methods: Sequence[str] = ("gradcam", "gradcam++"),
    target: str = "tumor",
    **options,
) -> dict[str, dict[str, np.ndarray]]:
    """Compute heat maps of several layers from the same passes.

    Parameters
    ----------
    model, images, layers, methods, target, **options
        As in `explain`, but for several layers.

    Returns
    -------
    dict of str to dict of str to array, (N, H, W), float32 in [0, 1]
        Maps by layer and method.
    """
    batches = stream(model, images, layers, methods=methods, target=target, **options)
    maps_of_batches, logits = zip(*batches, strict=True)
    against = np.concatenate(logits) * (1 if target == "tumor" else -1) < 0
    reason = f"no position is evidence for {target}"
    if options.get("modifier", "relu") != "relu":
        reason = f"no position passes modifier={options['modifier']!r}"
    if options.get("score") == "probability":
        reason += ", or the probability is saturated and has no gradient"
    by_layer: dict[str, dict[str, np.ndarray]] = {layer: {} for layer in layers}
    for layer, name in product(layers, methods):
        maps = np.concatenate([batch[layer][name] for batch in maps_of_batches])
        dead = maps.max(axis=(1, 2)) == 0
        if dead.any():
            warnings.warn(
                f"{model.title}: {dead.sum()} of {len(maps)} {name} maps of {layer} are all zero: "
                f"{reason}. {np.sum(dead & against)} of these patches are not classified as "
                f"{target}.",
                DeadMaps,
                stacklevel=2,
            )
        by_layer[layer][name] = maps
    return by_layer


def stream(
    model: Model,
    images: np.ndarray,
    layers: Sequence[str],
    *,
    methods: Sequence[str] = ("gradcam", "gradcam++"),
    target: str = "tumor",
    score: str = "logit",
    modifier: str = "relu",
    interpolation: str = "linear",
    batch_size: int = 32,
) -> Iterator[HeatMapBatch]:
    """Compute heat maps batch by batch, for more patches than maps would fit in memory.

    Parameters
    ----------
    model, images, methods, target
        As in `explain`; `images` may be memory-mapped.
    layers : sequence of str
        Analysis layers with spatial extent.
    score : str
        ``logit``, or ``probability``, whose gradient vanishes where the network is confident.
    modifier : str
        Evidence that is kept: ``relu`` for, ``negate`` against the target, or ``absolute`` both.
    interpolation : str
        ``linear``, ``cubic`` or ``nearest``, as if positions were spread evenly over the patch.
    batch_size : int
        Patches per pass; the maps do not depend on it.

    Yields
    ------
    HeatMapBatch
        ``maps`` by layer and method, float32 in [0, 1], and ``logit``, the log-odds of tumor.
    """
    options = {"target": target, "score": score, "modifier": modifier}
    _check_options(layers, methods, interpolation=interpolation, **options)
    model.check_spatial(layers)
    batches = model.map(
        _coarse_maps,
        *(tuple(layers), tuple(METHODS[name] for name in methods), target, score, modifier),
        images=images,
        batch_size=batch_size,
        description="explain",
    )
    size, flag = images.shape[2:0:-1], INTERPOLATIONS[interpolation]
    for coarse, logit in batches:
        maps: dict[str, dict[str, np.ndarray]] = {layer: {} for layer in layers}
        for layer, name in product(layers, methods):
            heat = coarse[layer][name].numpy()
            fine = np.stack([cv2.resize(each, size, interpolation=flag) for each in heat])
            maps[layer][name] = scaled(np.maximum(fine, 0))  # cubic interpolation overshoots
        yield HeatMapBatch(maps, logit.numpy())


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
        A classifier of tumor, and the patches to draw from.
    probability : array, (N,)
        Probability of tumor, from `Model.predict`.
    per_class, seed : int
        Largest number of patches per class and outcome, and seed of the draw.
    **options
        As in `explain`; the target is the class of the patches.

    Returns
    -------
    list of ExplainedPatches
        One for each class and outcome that has patches.
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


def _check_options(layers: Sequence[str], methods: Sequence[str], **options: str) -> None:
    """Raise ValueError unless the options exist and go together."""
    for name, value in (("methods", methods), ("layers", layers)):
        if isinstance(value, str) or not len(value):
            raise ValueError(f"{name} is {value!r}; expected a list of names.")
    for name, value in [*(("methods", method) for method in methods), *options.items()]:
        if value not in CHOICES[name]:
            known = ", ".join(CHOICES[name])
            raise ValueError(f"{name}: {value!r} is unknown; expected one of {known}.")
    for name in methods:
        if options["modifier"] == "negate" and not METHODS[name].signed:
            raise ValueError(f"{name} has no evidence against a target: explain the other target.")
        if options["score"] == "probability" and not METHODS[name].of_probability:
            raise ValueError(f"{name} is derived for the exponential of the logit: take logit.")


def _coarse_maps(
    model: Model,
    layers: Sequence[str],
    methods: Sequence[Method],
    target: str,
    score: str,
    modifier: str,
) -> Callable:
    """Make the function from a batch to maps of the layers' resolution, and to the logit."""
    sign = 1.0 if target == "tumor" else -1.0

    def value(logit: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(sign * logit) if score == "probability" else sign * logit

    of_input = [INPUT] if any(method.of == "input" for method in methods) else []
    forward_and_backward = model.activations_and_gradients([*layers, *of_input], value)

    def coarse(batch: tf.Tensor) -> tuple[dict[str, dict[str, tf.Tensor]], tf.Tensor]:
        activations, gradients, logit = forward_and_backward(batch)
        maps: dict[str, dict[str, tf.Tensor]] = {layer: {} for layer in layers}
        for layer, method in product(layers, methods):
            source = INPUT if method.of == "input" else layer
            heat = method.formula(activations[source], gradients[source])
            maps[layer][method.name] = heat if source == INPUT else MODIFIERS[modifier](heat)
        return maps, logit

    return coarse


def scaled(maps: np.ndarray) -> np.ndarray:
    """Divide each map, ``(n, H, W)``, by its maximum; maps of zeros stay as they are."""
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0)
