"""Objectives: what an image maximises, a weighted sum of measures of layers.

Names and formulas are Lucid's, whose objectives are of a whole batch; these are of one image each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from utils.networks import INPUT  # the layer name of the image itself, before transforms

LOGIT = "logit"  # the layer name of the log-odds of tumor


@dataclass(frozen=True)
class Term:
    """A weight times a measure of a layer."""

    measure: Callable[..., tf.Tensor]  # of activations, (N, h, w, C), and stacked params, to (N,)
    layer: str
    params: dict[str, np.ndarray]  # float32; tensors, so that one traced graph serves all channels
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Objective:
    """A sum of terms, which adds, subtracts, negates and multiplies by numbers."""

    terms: tuple[Term, ...]

    def __add__(self, other: "Objective | int") -> "Objective":
        if isinstance(other, Objective):
            return Objective(self.terms + other.terms)
        return self if other == 0 else NotImplemented  # sum() starts from 0

    __radd__ = __add__

    def __mul__(self, factor: float) -> "Objective":
        return Objective(tuple(replace(t, weight=t.weight * float(factor)) for t in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return self * -1

    def __sub__(self, other: "Objective") -> "Objective":
        return self + -other


def channel(layer: str, number: int) -> Objective:
    """Mean activation of a channel."""
    return _objective(_channel, layer, number=number)


def neuron(layer: str, number: int, x: int | None = None, y: int | None = None) -> Objective:
    """Activation of a channel at column `x` and row `y` (Lucid: row and column), or the centre."""
    return _objective(_channel, layer, number=number, position=(x, y))


def direction(layer: str, vector: np.ndarray, cossim_pow: float = 0.0) -> Objective:
    """Mean product of activations and vector, times their cosine (at least 0.1) to a power."""
    return _objective(_direction, layer, vector=vector, power=cossim_pow)


def direction_neuron(
    layer: str,
    vector: np.ndarray,
    x: int | None = None,
    y: int | None = None,
    cossim_pow: float = 0.0,
) -> Objective:
    """`direction` at column `x` and row `y` alone, by default the centre."""
    return _objective(_direction, layer, vector=vector, power=cossim_pow, position=(x, y))


def deepdream(layer: str) -> Objective:
    """Mean square of all activations of a layer (Mordvintsev et al. 2015)."""
    return _objective(_mean_square, layer)


def channel_interpolate(
    layer1: str, number1: int, layer2: str, number2: int, count: int
) -> list[Objective]:
    """From one channel to another in `count` images, which ``param.image(shared=True)`` aligns."""
    first, last = channel(layer1, number1), channel(layer2, number2)
    return [(1 - share) * first + share * last for share in np.linspace(0, 1, count)]


def class_logit(label: str) -> Objective:
    """Log-odds of a class, ``"tumor"`` or ``"normal"``, before the head's sigmoid or softmax."""
    signs = {"tumor": 1.0, "normal": -1.0}
    if label not in signs:
        raise ValueError(f"label is {label!r}; expected one of {', '.join(signs)}.")
    return signs[label] * _objective(tf.identity, LOGIT)


def diversity(layer: str, group: int = 0) -> Objective:
    """`similarity` to the other images of the same group and batch, to be subtracted."""
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
    return Objective((Term(measure, layer, {k: np.float32(v) for k, v in params.items()}),))


def _channel(activations, number, position=None):
    number = tf.cast(number, tf.int32)
    values = tf.gather(_at(activations, position), number, axis=-1, batch_dims=1)
    return tf.reduce_mean(values, axis=(1, 2))


def _direction(activations, vector, power, position=None):
    """Inner product, times the floored cosine to a power, both as Lucid defines them."""
    activations, vector = _at(activations, position), vector[:, None, None]
    product = tf.reduce_sum(activations * vector, axis=-1)
    # The floor under the root keeps its gradient finite where all channels are silent.
    lengths = [tf.sqrt(tf.reduce_sum(v * v, axis=-1) + 1e-12) + 1e-4 for v in (activations, vector)]
    cosine = product / (lengths[0] * lengths[1])
    return tf.reduce_mean(product * tf.maximum(0.1, cosine) ** power[:, None, None], axis=(1, 2))


def _at(activations, position):
    """Activations at one position per image, ``(N, 1, 1, C)``; NaN is the centre, None is all."""
    if position is None:
        return activations
    centre = [activations.shape[2] // 2, activations.shape[1] // 2]
    position = tf.where(tf.math.is_nan(position), centre, tf.cast(position, tf.int32))
    return tf.gather_nd(activations, position[:, ::-1], batch_dims=1)[:, None, None]


def _mean_square(activations):
    return tf.reduce_mean(tf.square(activations), axis=(1, 2, 3))


def similarity(activations: tf.Tensor, group: tf.Tensor) -> tf.Tensor:
    """Summed products of an image's normalised Gram matrix with the others' of its group."""
    shape = tf.shape(activations)
    flat = tf.reshape(activations, (shape[0], -1, shape[3]))
    grams = tf.linalg.matmul(flat, flat, transpose_a=True)
    grams = tf.math.l2_normalize(grams, axis=(1, 2), epsilon=1e-10)
    products = tf.einsum("iab,jab->ij", grams, grams)
    others = tf.equal(group[:, None], group) & ~tf.eye(shape[0], dtype=tf.bool)
    return tf.reduce_sum(tf.where(others, products, 0), axis=1)


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
    options = {"filter": kernel, "strides": (1, 1, 1, 1), "padding": "SAME"}
    sums = [tf.nn.depthwise_conv2d(x, **options) for x in (images, tf.ones_like(images))]
    from_constant = tf.square(images - _each(constant))
    roughness = tf.square(sums[0] / sums[1] - images) + 0.8 * from_constant
    return -tf.reduce_sum(roughness * border, axis=(1, 2, 3))


def _each(numbers):
    return numbers[:, None, None, None]


def tabulate(objectives: Sequence[Objective]) -> tuple[tuple, list[dict[str, np.ndarray]]]:
    """Sort terms by kind (measure, layer, names of params), on which a graph depends, into rows."""
    table: dict[tuple, list[dict]] = {}
    for image, objective in enumerate(objectives):
        for term in objective.terms:
            row = {"image": np.int32(image), "weight": np.float32(term.weight), **term.params}
            kind = term.measure, term.layer, tuple(term.params)
            table.setdefault(kind, []).append(row)
    stacked = [{k: np.stack([row[k] for row in rows]) for k in rows[0]} for rows in table.values()]
    return tuple(table), stacked


def select(table: Sequence[dict], images: Sequence[int]) -> list[dict]:
    """Cut tabulated rows to a batch of the images; an image may come more than once."""
    selected = []
    for rows in table:
        places, terms = np.nonzero(np.asarray(images)[:, None] == rows["image"])
        chosen = {key: column[terms] for key, column in rows.items()}
        selected.append(chosen | {"image": np.int32(places)})
    return selected


def evaluate(
    kinds: tuple, table: Sequence[dict], activations: dict, count: int, crops: int = 1
) -> tf.Tensor:
    """Evaluate the tabulated objectives of `count` images from activations by layer, ``(N,)``.

    Of several crops per image, ``(N * crops, h, w, C)``, an objective is the mean.
    """
    total = tf.zeros(count)
    for (measure, layer, _), rows in zip(kinds, table, strict=True):
        params = {name: tf.repeat(values, crops, axis=0) for name, values in rows.items()}
        images, weights = params.pop("image"), params.pop("weight") / crops
        places = crops * images + tf.tile(tf.range(crops), tf.shape(rows["image"]))
        if layer == INPUT:  # of which there is one per image
            places = images
        measured = measure(tf.gather(tf.cast(activations[layer], tf.float32), places), **params)
        total += tf.math.unsorted_segment_sum(weights * measured, images, count)
    return total
