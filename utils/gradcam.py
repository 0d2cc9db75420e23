"""Grad-CAM and Grad-CAM++: which parts of a patch speak for a class."""

import warnings
from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from utils.models import Model

METHODS = ("gradcam", "gradcam++")
TITLES = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++"}
TARGETS = ("tumor", "normal")
COLORMAPS = {"jet": cv2.COLORMAP_JET, "cividis": cv2.COLORMAP_CIVIDIS}


def explain(
    model: Model,
    images: np.ndarray,
    *,
    methods: Sequence[str] = METHODS,
    layer: str | None = None,
    target: str = "tumor",
    batch_size: int = 32,
) -> dict[str, np.ndarray]:
    """Compute heat maps from one forward and one backward pass.

    Parameters
    ----------
    model : Model
        A classifier of tumor.
    images : array, (N, H, W, 3), uint8
        Patches.
    methods : sequence of str
        ``gradcam`` (Selvaraju 2017), ``gradcam++`` (Chattopadhay 2018).
    layer : str, optional
        Analysis layer, by default the backbone's last one with spatial extent.
    target : str
        ``tumor`` explains the log-odds of tumor, ``normal`` their negative.
    batch_size : int
        Patches a pass; the maps do not depend on it.

    Returns
    -------
    dict of str to array, (N, H, W), float32 in [0, 1]
        By method; every map is divided by its maximum. A map without any positive evidence is all
        zeros, and a warning says how many there are.

    Raises
    ------
    ValueError
        If a method, target or layer does not exist, the layer has no spatial extent, the network
        no head, or the images are not what it takes.
    """
    model.check_images(images)
    methods = [methods] if isinstance(methods, str) else list(methods)
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise ValueError(f"methods are {methods}; known methods: {', '.join(METHODS)}.")
    if target not in TARGETS:
        raise ValueError(f"target is {target!r}; expected one of {', '.join(TARGETS)}.")
    layer = layer or model.backbone.cam_layer
    shape = model.layer(layer).output.shape
    if len(shape) != 4:
        raise ValueError(f"{layer} has the shape {shape}; expected a layer with spatial extent.")
    network = model.submodel([layer], logit=True)
    sign = 1.0 if target == "tumor" else -1.0

    def coarse(batch):
        with tf.GradientTape() as tape:
            tape.watch(batch)  # records the path also where no weight is trainable
            outputs = network(batch, training=False)
            score = sign * outputs["logit"]
        activations = outputs[layer]
        gradients = tape.gradient(score, activations)
        return {name: _MAPS[name](activations, gradients) for name in methods}

    coarse_maps = model.compile(coarse, images)
    maps: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    size = images.shape[2:0:-1]
    for batch in model.batches(images, batch_size=batch_size, description="explain"):
        for name, found in coarse_maps(batch).items():
            fine = [cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in found.numpy()]
            maps[name].append(np.stack(fine))
    return {name: _normalise(np.concatenate(parts), name) for name, parts in maps.items()}


def overlay(
    images: np.ndarray, maps: np.ndarray, *, colormap: str = "jet", opacity: float = 0.4
) -> np.ndarray:
    """Lay heat maps over patches.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
    maps : array, (N, H, W), float32 in [0, 1]
    colormap : str
        ``jet``, as in the paper, or ``cividis``, which the colour-blind can read.
    opacity : float
        Weight of the map, in [0, 1].

    Returns
    -------
    array, (N, H, W, 3), uint8
    """
    if colormap not in COLORMAPS:
        raise ValueError(f"colormap is {colormap!r}; expected one of {', '.join(COLORMAPS)}.")
    if maps.shape != images.shape[:3]:
        raise ValueError(f"maps have the shape {maps.shape}, images {images.shape}: they differ.")
    laid = []
    for image, heat in zip(images, maps, strict=True):
        colors = cv2.applyColorMap(np.uint8(np.round(255 * heat)), COLORMAPS[colormap])
        colors = cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)
        laid.append(cv2.addWeighted(colors, opacity, image, 1 - opacity, 0))
    return np.stack(laid)


def _gradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    weights = tf.reduce_mean(gradients, axis=(1, 2))
    return tf.nn.relu(tf.einsum("nhwc,nc->nhw", activations, weights))


def _gradcam_plus_plus(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    # For y = exp(S) all derivatives of y have the factor exp(S), which cancels in alpha and only
    # scales the map. The sum over positions is the paper's (equation 19).
    total = tf.reduce_sum(activations, axis=(1, 2), keepdims=True)
    square = gradients**2
    alpha = tf.math.divide_no_nan(square, 2 * square + gradients**3 * total)
    weights = tf.reduce_sum(alpha * tf.nn.relu(gradients), axis=(1, 2))
    return tf.nn.relu(tf.einsum("nhwc,nc->nhw", activations, weights))


_MAPS = {"gradcam": _gradcam, "gradcam++": _gradcam_plus_plus}


def _normalise(maps: np.ndarray, name: str) -> np.ndarray:
    peaks = maps.max(axis=(1, 2), keepdims=True)
    dead = int(np.sum(peaks <= 0))
    if dead:
        warnings.warn(
            f"{dead} of {len(maps)} {name} maps are all zero: no evidence for the target there.",
            stacklevel=3,
        )
    return np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0)
