"""Objectives: what an image maximises.

An objective is a weighted sum of measures of layers, with Lucid's names and formulas. Objectives
add, subtract, negate and multiply by numbers. Where Lucid averages a measure over its batch, or is
told an image by ``batch=``, each objective here is of one image: a list of them is a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

INPUT = "input"  # the layer name of the image itself, in [0, 1], before transforms
LOGIT = "logit"  # the layer name of the log-odds of tumor


@dataclass(frozen=True)
class Term:
    """A weight times a measure of a layer.

    The measure maps activations, ``(N, h, w, C)``, and the stacked params of N terms to N numbers.
    Params are tensors, so that a graph traced for some channels serves all.
    """

    measure: Callable[..., tf.Tensor]
    layer: str
    params: dict[str, np.ndarray]  # each float32
    weight: float = 1.0

    def __str__(self) -> str:
        short = {"threshold": 4, "formatter": {"float": "{:g}".format}}
        params = "".join(f", {np.array2string(p, **short)}" for p in self.params.values())
        return f"{self.weight:g} {self.measure.__name__.strip('_')}({self.layer}{params})"


class Objective:
    """A sum of terms."""

    def __init__(self, terms: Sequence[Term]):
        self.terms = tuple(terms)

    def __add__(self, other: "Objective | int") -> "Objective":
        if isinstance(other, int) and other == 0:  # from which sum() starts
            return self
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(self.terms + other.terms)

    __radd__ = __add__

    def __mul__(self, factor: float) -> "Objective":
        if isinstance(factor, Objective):
            raise TypeError("objectives multiply by numbers, not by other objectives.")
        return Objective([replace(t, weight=t.weight * float(factor)) for t in self.terms])

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return self * -1

    def __sub__(self, other: "Objective") -> "Objective":
        return self + -other

    def __repr__(self) -> str:
        return " + ".join(str(term) for term in self.terms)


def channel(layer: str, number: int) -> Objective:
    """Mean activation of a channel."""
    return _objective(_channel, layer, number=number)


def neuron(layer: str, number: int, x: int | None = None, y: int | None = None) -> Objective:
    """Activation of a channel at column `x` and row `y` (Lucid: row and column), or the centre."""
    return _objective(_neuron, layer, number=number, position=(x, y))


def direction(layer: str, vector: np.ndarray, cossim_pow: float = 0.0) -> Objective:
    """Mean product of the activations with a vector of one number per channel.

    At each position it is multiplied by the cosine of their angle, at least 0.1, to the power
    `cossim_pow`: where activations point then matters more than how large they are.
    """
    return _objective(_direction, layer, vector=vector, power=cossim_pow)


def direction_neuron(
    layer: str,
    vector: np.ndarray,
    x: int | None = None,
    y: int | None = None,
    cossim_pow: float = 0.0,
) -> Objective:
    """`direction` at column `x` and row `y` alone, by default the centre."""
    return _objective(_direction_neuron, layer, vector=vector, power=cossim_pow, position=(x, y))


def deepdream(layer: str) -> Objective:
    """Mean square of all activations of a layer (Mordvintsev et al. 2015)."""
    return _objective(_deepdream, layer)


def channel_interpolate(
    layer1: str, number1: int, layer2: str, number2: int, count: int
) -> list[Objective]:
    """From one channel to another in `count` images, which ``param.image(shared=True)`` aligns."""
    if count < 2:
        raise ValueError(f"count is {count}; expected at least 2, the two channels themselves.")
    first, last = channel(layer1, number1), channel(layer2, number2)
    return [(1 - share) * first + share * last for share in np.linspace(0, 1, count)]


def class_logit(label: str) -> Objective:
    """Log-odds of a class, ``"tumor"`` or ``"normal"``, before the head's sigmoid or softmax."""
    signs = {"tumor": 1.0, "normal": -1.0}
    if label not in signs:
        raise ValueError(f"label is {label!r}; expected one of {', '.join(signs)}.")
    return signs[label] * _objective(tf.identity, LOGIT)


def diversity(layer: str, group: int = 0) -> Objective:
    """`similarity` to the other images of the same group and batch, to be subtracted.

    ``[objective - 0.1 * diversity(layer)] * 4`` gives four different images of one objective.
    """
    return _objective(similarity, layer, group=group)


def total_variation(layer: str = INPUT) -> Objective:
    """Sum of absolute differences of neighbours, to be subtracted for smooth images."""
    return _objective(tf.image.total_variation, layer)


def L1(layer: str = INPUT, constant: float = 0.0) -> Objective:
    """Sum of absolute differences from a constant, to be subtracted."""
    return _objective(_l1, layer, constant=constant)


def L2(layer: str = INPUT, constant: float = 0.0, epsilon: float = 1e-6) -> Objective:
    """Root of the sum of squared differences from a constant, to be subtracted."""
    return _objective(_l2, layer, constant=constant, epsilon=epsilon)


def penalize_boundary_complexity(width: int = 20, constant: float = 0.5) -> Objective:
    """Reward an image whose border, `width` pixels wide, is smooth and close to a constant."""
    return _objective(_boundary_complexity, INPUT, width=width, constant=constant)


def _objective(measure: Callable[..., tf.Tensor], layer: str, **params) -> Objective:
    # Without a position, its None become NaN.
    return Objective([Term(measure, layer, {k: np.float32(v) for k, v in params.items()})])


def _channel(activations, number):
    number = tf.cast(number, tf.int32)
    return tf.reduce_mean(tf.gather(activations, number, axis=-1, batch_dims=1), axis=(1, 2))


def _neuron(activations, number, position):
    number = tf.cast(number, tf.int32)
    return tf.gather(_at(activations, position), number, axis=-1, batch_dims=1)


def similarity(activations: tf.Tensor, group: tf.Tensor) -> tf.Tensor:
    """Summed products of an image's normalised Gram matrix with the others' of its group."""
    shape = tf.shape(activations)
    flat = tf.reshape(activations, (shape[0], -1, shape[3]))
    grams = tf.linalg.matmul(flat, flat, transpose_a=True)
    grams = tf.math.l2_normalize(grams, axis=(1, 2), epsilon=1e-10)
    products = tf.einsum("iab,jab->ij", grams, grams)
    others = tf.equal(group[:, None], group) & ~tf.eye(shape[0], dtype=tf.bool)
    return tf.reduce_sum(tf.where(others, products, 0), axis=1)


def _direction(activations, vector, power):
    aligned = _aligned(activations, vector[:, None, None], power[:, None, None])
    return tf.reduce_mean(aligned, axis=(1, 2))


def _direction_neuron(activations, vector, power, position):
    return _aligned(_at(activations, position), vector, power)


def _deepdream(activations):
    return tf.reduce_mean(tf.square(activations), axis=(1, 2, 3))


def _l1(activations, constant):
    return tf.reduce_sum(tf.abs(activations - _each(constant)), axis=(1, 2, 3))


def _l2(activations, constant, epsilon):
    squares = tf.reduce_sum(tf.square(activations - _each(constant)), axis=(1, 2, 3))
    return tf.sqrt(epsilon + squares)


def _boundary_complexity(images, width, constant):
    """Negative roughness and distance from a constant of the border of images."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in images.shape[1:3])
    to_edge = np.minimum.outer(rows, columns)[:, :, None]
    border = tf.cast(to_edge < _each(width), tf.float32)
    kernel = np.full((5, 5, images.shape[-1], 1), 0.5, np.float32)
    kernel[1:-1, 1:-1] = 1

    def blur(x):
        return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")

    smooth = blur(images) / blur(tf.ones_like(images))
    from_constant = tf.square(images - _each(constant))
    roughness = tf.square(smooth - images) + 0.8 * from_constant
    return -tf.reduce_sum(roughness * border, axis=(1, 2, 3))


def _at(activations, position):
    """Activations at one position per image, ``(N, C)``; NaN is the centre."""
    centre = [activations.shape[2] // 2, activations.shape[1] // 2]
    position = tf.where(tf.math.is_nan(position), centre, tf.cast(position, tf.int32))
    return tf.gather_nd(activations, position[:, ::-1], batch_dims=1)


def _aligned(activations, vector, power):
    """Inner product, times the floored cosine to a power, both as Lucid defines them."""
    product = tf.reduce_sum(activations * vector, axis=-1)
    # The floor under the root keeps its gradient finite where all channels are silent.
    lengths = [tf.sqrt(tf.reduce_sum(v * v, axis=-1) + 1e-12) + 1e-4 for v in (activations, vector)]
    return product * tf.maximum(0.1, product / (lengths[0] * lengths[1])) ** power


def _each(numbers):
    return numbers[:, None, None, None]
