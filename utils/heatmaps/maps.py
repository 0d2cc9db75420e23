"""Heat maps: which parts of a patch are evidence for a class.

All methods and layers come from one forward and one backward pass.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from utils.heatmaps.methods import METHODS, WEIGHTED_SUMS
from utils.networks import INPUT, Model

TARGETS = ("tumor", "normal")
SCORES = ("logit", "probability")
MODIFIERS = ("relu", "absolute", "negate")
Maps = Mapping[str, np.ndarray]  # heat maps, (N, H, W), by method
INTERPOLATIONS = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


class DeadMaps(UserWarning):
    """Some heat maps are all zeros."""


class HeatMapBatch(NamedTuple):
    """Heat maps of some patches, and what was explained.

    Attributes
    ----------
    maps : dict of str to dict of str to array, (n, H, W), float32 in [0, 1]
        By layer and method.
    logit : array, (n,), float32
        Log-odds of tumor, whatever the target.
    """

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
        Names in `METHODS`: ``gradcam`` (Selvaraju 2017), ``gradcam++`` (Chattopadhay 2018),
        ``layercam`` (Jiang 2021), and ``saliency`` (Simonyan 2014: the largest absolute gradient
        over the colours), which refers to the input, not to a layer. The second and third assume
        activations that are not negative, such as behind a ReLU.
    layer : str, optional
        Analysis layer, by default the backbone's last one with spatial extent.
    target : str
        ``tumor`` explains the log-odds of tumor, ``normal`` their negative.
    **options
        ``score``, ``modifier``, ``interpolation`` and ``batch_size``: see `stream`.

    Returns
    -------
    dict of str to array, (N, H, W), float32 in [0, 1]
        By method; every map is divided by its maximum. A map without any evidence is all zeros,
        and a warning says how many are and how these patches are classified.
    """
    layer = layer or model.backbone.cam_layer
    found = explain_layers(model, images, [layer], methods=methods, target=target, **options)
    return found[layer]


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
        By layer and method.
    """
    batches = stream(model, images, layers, methods=methods, target=target, **options)
    maps_of_batches, logits = zip(*batches, strict=True)
    against = np.concatenate(logits) < 0 if target == "tumor" else np.concatenate(logits) > 0
    why = f"no place there speaks for {target}"
    if options.get("modifier", "relu") != "relu":
        why = f"no place there passes modifier={options['modifier']!r}"
    if options.get("score") == "probability":
        why += ", or the probability is saturated and has no gradient"
    maps: dict[str, dict[str, np.ndarray]] = {layer: {} for layer in layers}
    for layer in layers:
        for name in methods:
            found = np.concatenate([part[layer][name] for part in maps_of_batches])
            dead = found.max(axis=(1, 2)) == 0
            if dead.any():
                warnings.warn(
                    f"{model.title}: {dead.sum()} of {len(found)} {name} maps of {layer} are all "
                    f"zero: {why}. {np.sum(dead & against)} of these patches are not classified "
                    f"as {target}.",
                    DeadMaps,
                    stacklevel=2,
                )
            maps[layer][name] = found
    return maps


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
        ``logit``, or ``probability``, whose gradient vanishes where the network is sure.
    modifier : str
        What becomes of the sum over channels: ``relu`` keeps evidence for the target, ``negate``
        evidence against it (of Grad-CAM only), ``absolute`` both. Gradients of the input are
        absolute in any case.
    interpolation : str
        From the layer's resolution to the patch's: ``linear``, ``cubic`` or ``nearest``. It takes
        the layer's positions to lie evenly over the patch, which convolutions without padding
        only do approximately.
    batch_size : int
        Patches per pass; the maps do not depend on it.

    Yields
    ------
    HeatMapBatch
        The next patches'.
    """
    layers, methods = _check_options(layers, methods, target, score, modifier, interpolation)
    model.check_spatial(layers)
    batches = model.map(
        _coarse_maps,
        *(layers, methods, target, score, modifier),
        images=images,
        batch_size=batch_size,
        description="explain",
    )
    for coarse, logit in batches:
        maps = {
            layer: {
                name: _fine(coarse[layer][name].numpy(), images.shape[1:3], interpolation)
                for name in methods
            }
            for layer in layers
        }
        yield HeatMapBatch(maps, logit.numpy())


def _check_options(
    layers: Sequence[str],
    methods: Sequence[str],
    target: str,
    score: str,
    modifier: str,
    interpolation: str,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
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
    for name in {"gradcam++", "layercam"} & set(methods):
        if modifier == "negate":
            raise ValueError(f"{name} has no evidence against a target: explain the other target.")
        if score == "probability" and name == "gradcam++":
            raise ValueError("gradcam++ is derived for the exponential of the logit: take logit.")
    return tuple(layers), tuple(methods)


def _coarse_maps(
    model: Model,
    layers: tuple[str, ...],
    methods: tuple[str, ...],
    target: str,
    score: str,
    modifier: str,
) -> Callable:
    """Make the function from a batch to maps of the layers' resolution, and to the logit."""
    sign = 1.0 if target == "tumor" else -1.0
    modify = {"relu": tf.nn.relu, "absolute": tf.abs, "negate": lambda m: tf.nn.relu(-m)}[modifier]

    def value(logit: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(sign * logit) if score == "probability" else sign * logit

    sources = (*layers, INPUT) if "saliency" in methods else layers
    forward_and_backward = model.activations_and_gradients(sources, value)

    def coarse(batch: tf.Tensor) -> tuple[dict[str, dict[str, tf.Tensor]], tf.Tensor]:
        activations, gradients, logit = forward_and_backward(batch)
        maps = {
            layer: {
                name: modify(weigh(activations[layer], gradients[layer]))
                for name, weigh in WEIGHTED_SUMS.items()
                if name in methods
            }
            for layer in layers
        }
        if "saliency" in methods:
            saliency = tf.reduce_max(tf.abs(gradients[INPUT]), axis=-1)
            for by_method in maps.values():
                by_method["saliency"] = saliency
        return maps, logit

    return coarse


def _fine(coarse: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Upsample maps, ``(n, h, w)``, to height and width, and divide each by its maximum."""
    flag = INTERPOLATIONS[interpolation]
    resized = [cv2.resize(heat, size[::-1], interpolation=flag) for heat in coarse]
    positive = np.maximum(np.stack(resized), 0)  # cubic interpolation overshoots
    peaks = positive.max(axis=(1, 2), keepdims=True)
    return np.divide(positive, peaks, out=np.zeros_like(positive), where=peaks > 0)
