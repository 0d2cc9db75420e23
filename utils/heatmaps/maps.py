"""Heat maps: which parts of a patch are evidence for a class.

All methods and layers come from one forward and one backward pass.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from utils.heatmaps.methods import METHODS, Method
from utils.networks import INPUT, Model

TARGETS = ("tumor", "normal")
SCORES = ("logit", "probability")
MODIFIERS = {"relu": tf.nn.relu, "absolute": tf.abs, "negate": lambda m: tf.nn.relu(-m)}
Maps = Mapping[str, np.ndarray]  # heat maps, (N, H, W), by method
INTERPOLATIONS = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


class DeadMaps(UserWarning):
    """Some heat maps are all zeros."""


class HeatMapBatch(NamedTuple):
    """Heat maps of some patches, ``(n, H, W)``, by layer and method, and log-odds of tumor."""

    maps: dict[str, dict[str, np.ndarray]]
    logit: np.ndarray


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
        Names in `METHODS`, by default those of the paper. Maps of methods of the input
        (``saliency``) do not depend on the layer.
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
    model, images, methods, target, **options
        As in `explain`.
    layers : sequence of str
        Analysis layers with spatial extent.

    Returns
    -------
    dict of str to dict of str to array, (N, H, W), float32 in [0, 1]
        Maps by layer and method.
    """
    batches = stream(model, images, layers, methods=methods, target=target, **options)
    maps_of_batches, logits = zip(*batches, strict=True)
    against = np.concatenate(logits) < 0 if target == "tumor" else np.concatenate(logits) > 0
    reason = f"no position is evidence for {target}"
    if options.get("modifier", "relu") != "relu":
        reason = f"no position passes modifier={options['modifier']!r}"
    if options.get("score") == "probability":
        reason += ", or the probability is saturated and has no gradient"
    by_layer: dict[str, dict[str, np.ndarray]] = {layer: {} for layer in layers}
    for layer in layers:
        for name in methods:
            maps = np.concatenate([batch[layer][name] for batch in maps_of_batches])
            dead = maps.max(axis=(1, 2)) == 0
            if dead.any():
                warnings.warn(
                    f"{model.title}: {dead.sum()} of {len(maps)} {name} maps of {layer} are all "
                    f"zero: {reason}. {np.sum(dead & against)} of these patches are not "
                    f"classified as {target}.",
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
        Transformation of the map of a layer: ``relu`` keeps evidence for the target, ``negate``
        evidence against it (Grad-CAM only), ``absolute`` both.
    interpolation : str
        From the layer's resolution to the patch's: ``linear``, ``cubic`` or ``nearest``. It assumes
        that the layer's positions are spread evenly over the patch, which holds only approximately
        for convolutions without padding.
    batch_size : int
        Patches per pass; the maps do not depend on it.

    Yields
    ------
    HeatMapBatch
        ``maps`` by layer and method, ``(n, H, W)``, float32 in [0, 1], and ``logit``, ``(n,)``, the
        log-odds of tumor, whatever the target.
    """
    layers, chosen = _check_options(layers, methods, target, score, modifier, interpolation)
    model.check_spatial(layers)
    batches = model.map(
        _coarse_maps,
        *(layers, chosen, target, score, modifier),
        images=images,
        batch_size=batch_size,
        description="explain",
    )
    for coarse, logit in batches:
        maps = {
            layer: {
                name: _fine(heat.numpy(), images.shape[1:3], interpolation)
                for name, heat in by_method.items()
            }
            for layer, by_method in coarse.items()
        }
        yield HeatMapBatch(maps, logit.numpy())


def _check_options(
    layers: Sequence[str],
    methods: Sequence[str],
    target: str,
    score: str,
    modifier: str,
    interpolation: str,
) -> tuple[tuple[str, ...], tuple[Method, ...]]:
    """Raise ValueError unless the options exist and go together; return layers and methods."""
    for name, value in (("methods", methods), ("layers", layers)):
        if isinstance(value, str) or not len(value):
            raise ValueError(f"{name} is {value!r}; expected a list of names.")
    choices = [("methods", method, METHODS) for method in methods]
    choices += [("target", target, TARGETS), ("score", score, SCORES)]
    choices += [("modifier", modifier, MODIFIERS), ("interpolation", interpolation, INTERPOLATIONS)]
    for name, value, known in choices:
        if value not in known:
            raise ValueError(f"{name}: {value!r} is unknown; expected one of {', '.join(known)}.")
    for name in methods:
        if modifier == "negate" and not METHODS[name].signed:
            raise ValueError(f"{name} has no evidence against a target: explain the other target.")
        if score == "probability" and not METHODS[name].of_probability:
            raise ValueError(f"{name} is derived for the exponential of the logit: take logit.")
    return tuple(layers), tuple(METHODS[name] for name in methods)


def _coarse_maps(
    model: Model,
    layers: tuple[str, ...],
    methods: tuple[Method, ...],
    target: str,
    score: str,
    modifier: str,
) -> Callable:
    """Make the function from a batch to maps of the layers' resolution, and to the logit."""
    sign = 1.0 if target == "tumor" else -1.0

    def value(logit: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(sign * logit) if score == "probability" else sign * logit

    of_input = (INPUT,) if any(method.of == "input" for method in methods) else ()
    forward_and_backward = model.activations_and_gradients((*layers, *of_input), value)

    def coarse(batch: tf.Tensor) -> tuple[dict[str, dict[str, tf.Tensor]], tf.Tensor]:
        activations, gradients, logit = forward_and_backward(batch)

        def map_of(method: Method, layer: str) -> tf.Tensor:
            if method.of == "input":
                return method.formula(activations[INPUT], gradients[INPUT])
            return MODIFIERS[modifier](method.formula(activations[layer], gradients[layer]))

        by_layer = {
            layer: {method.name: map_of(method, layer) for method in methods} for layer in layers
        }
        return by_layer, logit

    return coarse


def _fine(coarse: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Upsample maps, ``(n, h, w)``, to height and width, and divide each by its maximum."""
    flag = INTERPOLATIONS[interpolation]
    resized = [cv2.resize(heat, size[::-1], interpolation=flag) for heat in coarse]
    positive = np.maximum(np.stack(resized), 0)  # cubic interpolation overshoots
    peaks = positive.max(axis=(1, 2), keepdims=True)
    return np.divide(positive, peaks, out=np.zeros_like(positive), where=peaks > 0)
