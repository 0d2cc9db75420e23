"""Heat maps: which parts of a patch are evidence for a class.

All methods and layers come from one forward and one backward pass.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from utils.heatmaps.methods import METHODS, WEIGHTED_SUMS
from utils.networks import Model

TARGETS = ("tumor", "normal")
SCORES = ("logit", "probability")
MODIFIERS = ("relu", "absolute", "negate")
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
        Of `METHODS`: ``gradcam`` (Selvaraju 2017), ``gradcam++`` (Chattopadhay 2018), ``layercam``
        (Jiang 2021), and ``saliency`` (Simonyan 2014: the largest absolute gradient over the
        colours), which is of the input and not of a layer. The second and third assume activations
        that are not negative, such as behind a ReLU.
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

    Raises
    ------
    ValueError
        If an option or layer does not exist, the layer has no spatial extent, the network no head,
        or the images are not what it takes.
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
    """Compute heat maps of several layers from the same passes: `explain`, by layer and method."""
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
        Patches a pass; the maps do not depend on it.

    Yields
    ------
    HeatMapBatch
        The next patches'.

    Raises
    ------
    ValueError
        As `explain`.
    """
    model.check_images(images)
    for name, value in (("methods", methods), ("layers", layers)):
        if isinstance(value, str) or not len(value):
            raise ValueError(f"{name} is {value!r}; expected a list of names.")
    for name, value, known in (
        *(("methods", method, METHODS) for method in methods),
        ("target", target, TARGETS),
        ("score", score, SCORES),
        ("modifier", modifier, MODIFIERS),
        ("interpolation", interpolation, tuple(INTERPOLATIONS)),
    ):
        if value not in known:
            raise ValueError(f"{name}: {value!r} is unknown; expected one of {', '.join(known)}.")
    for name in {"gradcam++", "layercam"} & set(methods):
        if modifier == "negate":
            raise ValueError(f"{name} has no evidence against a target: explain the other target.")
        if score == "probability" and name == "gradcam++":
            raise ValueError("gradcam++ is derived for the exponential of the logit: take logit.")
    model.check_spatial(layers)
    size = images.shape[2:0:-1]

    def fine(coarse_maps: np.ndarray) -> np.ndarray:
        resized = [
            cv2.resize(m, size, interpolation=INTERPOLATIONS[interpolation]) for m in coarse_maps
        ]
        positive = np.maximum(np.stack(resized), 0)  # cubic interpolation overshoots
        peaks = positive.max(axis=(1, 2), keepdims=True)
        return np.divide(positive, peaks, out=np.zeros_like(positive), where=peaks > 0)

    layers, methods = tuple(layers), tuple(methods)
    options = (layers, methods, target, score, modifier)
    found = model.run(
        ("heat maps", *options),
        lambda: _coarse_maps(model, *options),
        images,
        batch_size=batch_size,
        description="explain",
    )
    for maps, logit in found:
        yield HeatMapBatch(
            {
                layer: {name: fine(maps[layer][name].numpy()) for name in methods}
                for layer in layers
            },
            logit.numpy(),
        )


def _coarse_maps(model, layers, methods, target, score, modifier) -> Callable:
    """Make the function from a batch to maps of the layers' resolution, and to the logit."""
    network = model.submodel(layers, logit=True)
    sign = 1.0 if target == "tumor" else -1.0
    modify = {"relu": tf.nn.relu, "absolute": tf.abs, "negate": lambda m: tf.nn.relu(-m)}[modifier]

    def coarse(batch):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)  # records the path though no weight is watched
            outputs = network(batch, training=False)
            value = sign * outputs["logit"]
            if score == "probability":
                value = tf.sigmoid(value)
        sources = {layer: outputs[layer] for layer in layers}
        if "saliency" in methods:
            sources["input"] = batch
        gradients = tape.gradient(value, sources)
        maps = {
            layer: {
                name: modify(weigh(outputs[layer], gradients[layer]))
                for name, weigh in WEIGHTED_SUMS.items()
                if name in methods
            }
            for layer in layers
        }
        if "saliency" in methods:
            saliency = tf.reduce_max(tf.abs(gradients["input"]), axis=-1)
            for by_method in maps.values():
                by_method["saliency"] = saliency
        return maps, outputs["logit"]

    return coarse
