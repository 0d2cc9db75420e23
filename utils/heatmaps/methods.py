"""The methods: from activations and gradients to a map. A new method is one entry of `METHODS`."""

from collections.abc import Callable
from dataclasses import dataclass, field

import tensorflow as tf


@dataclass(frozen=True)
class Method:
    """A method of explanation: its formula, and its title and style in figures."""

    name: str
    title: str
    # From activations and gradients, (N, h, w, C), to evidence for the target, (N, h, w).
    formula: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    # Options of matplotlib: color, marker, linestyle.
    style: dict[str, str] = field(default_factory=dict, compare=False)
    of: str = "layer"  # or "input": the preprocessed patch itself
    signed: bool = True  # negative values are evidence against the target


def _gradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Selvaraju et al. (2017)."""
    weights = tf.reduce_mean(gradients, axis=(1, 2))
    return tf.einsum("nhwc,nc->nhw", activations, weights)


def _gradcam_pp(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Chattopadhay et al. (2018), for activations that are not negative."""
    # For y = exp(S) all derivatives of y have the factor exp(S), which cancels in alpha and only
    # scales the map. The sum over positions is the paper's (equation 19).
    total = tf.reduce_sum(activations, axis=(1, 2), keepdims=True)
    # Numerator and denominator of alpha are divided by g^2: squares and cubes of small gradients
    # are not representable.
    alpha = tf.where(gradients == 0, 0.0, tf.math.divide_no_nan(1.0, 2 + gradients * total))
    weights = tf.reduce_sum(alpha * tf.nn.relu(gradients), axis=(1, 2))
    return tf.einsum("nhwc,nc->nhw", activations, weights)


def _layercam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Jiang et al. (2021), for activations that are not negative."""
    return tf.reduce_sum(activations * tf.nn.relu(gradients), axis=-1)


def _saliency(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Simonyan et al. (2014): the largest absolute gradient over the colours."""
    return tf.reduce_max(tf.abs(gradients), axis=-1)


_METHODS = (
    Method("gradcam", "Grad-CAM", _gradcam, {"color": "#0072b2", "marker": "o"}),
    Method(
        "gradcam++", "Grad-CAM++", _gradcam_pp, {"color": "#d55e00", "marker": "^"}, signed=False
    ),
    Method("layercam", "LayerCAM", _layercam, {"color": "#009e73", "marker": "D"}, signed=False),
    Method("saliency", "gradient", _saliency, {"color": "#cc79a7", "marker": "v"}, of="input"),
)
METHODS = {method.name: method for method in _METHODS}
