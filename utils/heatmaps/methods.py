"""The methods: from activations and gradients to a map. A new method is one entry of `METHODS`.

Methods of a layer use its activations and the gradient there; methods of the input use the
preprocessed patch and the gradient there, or its mean over several points near it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from utils.networks import INPUT, Model

MODIFIERS = {  # of evidence, before it is interpolated
    "relu": lambda evidence: np.maximum(evidence, 0),
    "absolute": np.abs,
    "negate": lambda evidence: np.maximum(-evidence, 0),
    "signed": lambda evidence: evidence,
}
SIGNS = {"tumor": 1.0, "normal": -1.0}  # of the log-odds of tumor that are explained


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
    passes: int = 1  # gradients of the input that are averaged
    # From the preprocessed patches and the number of the pass to where its gradient is taken.
    point: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None


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


def _hirescam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Draelos and Carin (2020): exact where one linear layer follows the activations."""
    return tf.reduce_sum(activations * gradients, axis=-1)


def _largest(images: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Simonyan et al. (2014): the largest absolute gradient over the colours."""
    return tf.reduce_max(tf.abs(gradients), axis=-1)


def _mean_colour(images: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(images, axis=(1, 2), keepdims=True)


def _times_difference(images: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """First-order change of the logit from the patch's mean colour to the patch."""
    return tf.reduce_sum((images - _mean_colour(images)) * gradients, axis=-1)


def _with_noise(images: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Smilkov et al. (2017): noise of 15 % of the patch's range, the same for all patches."""
    extent = tf.reduce_max(images, (1, 2, 3), True) - tf.reduce_min(images, (1, 2, 3), True)
    shape = tf.concat([[1], tf.shape(images)[1:]], axis=0)
    return images + 0.15 * extent * tf.random.stateless_normal(shape, seed=[0, number])


def _on_the_path(images: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Sundararajan et al. (2017): a point on the line from the mean colour to the patch."""
    share = (tf.cast(number, tf.float32) + 0.5) / PATH
    return _mean_colour(images) + share * (images - _mean_colour(images))


PATH = 32  # points on the path of integrated gradients
_METHODS = (
    Method("gradcam", "Grad-CAM", _gradcam, {"color": "#0072b2", "marker": "o"}),
    Method(
        "gradcam++", "Grad-CAM++", _gradcam_pp, {"color": "#d55e00", "marker": "^"}, signed=False
    ),
    Method("layercam", "LayerCAM", _layercam, {"color": "#009e73", "marker": "D"}, signed=False),
    Method("hirescam", "HiResCAM", _hirescam, {"color": "#000000", "marker": "s"}),
    Method(
        "gradient", "gradient", _largest, {"color": "#cc79a7", "marker": "v"}, "input", signed=False
    ),
    Method(
        "gradient*input",
        "gradient × input",
        _times_difference,
        {"color": "#e69f00", "marker": "<"},
        "input",
    ),
    Method(
        "smoothgrad",
        "SmoothGrad",
        _largest,
        {"color": "#999999", "marker": ">"},
        "input",
        signed=False,
        passes=16,
        point=_with_noise,
    ),
    Method(
        "integrated",
        "integrated gradients",
        _times_difference,
        {"color": "#f0e442", "marker": "p"},
        "input",
        passes=PATH,
        point=_on_the_path,
    ),
)
METHODS = {method.name: method for method in _METHODS}
ONE_PASS = tuple(name for name, method in METHODS.items() if method.passes == 1)


def coarse_maps(
    model: Model, layers: Sequence[str], methods: Sequence[Method], target: str
) -> Callable:
    """Make the function from a batch to evidence at the layers' resolution, and to the logit."""
    at_input = [method for method in methods if method.of == "input"]
    alone = [INPUT] if any(method.passes == 1 for method in at_input) else []

    def score(logit: tf.Tensor) -> tf.Tensor:
        return SIGNS[target] * logit

    forward_and_backward = model.activations_and_gradients([*layers, *alone], score)
    of_input = model.activations_and_gradients([INPUT], score)

    def mean_gradient(method: Method, batch: tf.Tensor) -> tf.Tensor:
        def add(total: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
            return total + of_input(method.point(batch, number))[1][INPUT]

        numbers = tf.range(method.passes)
        return tf.foldl(add, numbers, tf.zeros_like(batch), parallel_iterations=1) / method.passes

    def coarse(batch: tf.Tensor) -> tuple[dict[str, dict[str, tf.Tensor]], tf.Tensor]:
        activations, gradients, logit = forward_and_backward(batch)
        shared = {
            method.name: method.formula(
                batch, gradients[INPUT] if method.passes == 1 else mean_gradient(method, batch)
            )
            for method in at_input
        }
        of_layer = [method for method in methods if method.of == "layer"]
        maps = {
            layer: shared
            | {
                method.name: method.formula(activations[layer], gradients[layer])
                for method in of_layer
            }
            for layer in layers
        }
        return maps, logit

    return coarse
