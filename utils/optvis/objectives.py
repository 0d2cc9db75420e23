"""What an image is to maximise.

An objective is a weighted sum of measures of layers. Objectives add, subtract, negate and multiply
by numbers, and a list of them, one an image, is evaluated as one batch: their numbers (channels,
positions, weights) are tensors, so that a graph which was traced for some channels serves all.

Names and formulas are Lucid's. Lucid averages a measure over its batch, or is told an image by
``batch=``; here every objective is of one image, and there is one objective an image.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

INPUT = "input"  # the layer name of the image itself, in [0, 1], before transforms
LOGIT = "logit"  # the layer name of the log-odds of tumor


@dataclass(frozen=True)
class Term:
    """A weight times a measure of one layer.

    Attributes
    ----------
    measure : callable
        Maps activations, ``(n, h, w, C)``, and stacked `params` to ``(n,)``, for the n images that
        have such a term.
    layer : str
    params : tuple of array
        Numbers of this image.
    weight : float
    """

    measure: Callable[..., tf.Tensor]
    layer: str
    params: tuple[np.ndarray, ...] = ()
    weight: float = 1.0


class Objective:
    """A sum of terms."""

    def __init__(self, terms: Sequence[Term]):
        self.terms = tuple(terms)

    def __add__(self, other: "Objective") -> "Objective":
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(self.terms + other.terms)

    def __radd__(self, other: int) -> "Objective":
        # sum() starts from 0.
        return self if isinstance(other, int) and other == 0 else NotImplemented

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
        return " + ".join(
            f"{t.weight:g} {t.measure.__name__.strip('_')}({t.layer}"
            + "".join(f", {np.array2string(p, threshold=4)}" for p in t.params)
            + ")"
            for t in self.terms
        )


def channel(layer: str, number: int) -> Objective:
    """Mean activation of a channel."""
    return Objective([Term(_channel, layer, (_index(layer, number),))])


def neuron(layer: str, number: int, x: int | None = None, y: int | None = None) -> Objective:
    """Activation of a channel at column `x` and row `y`, by default the centre.

    Lucid's ``neuron`` counts rows by ``x`` and columns by ``y``.
    """
    return Objective([Term(_neuron, layer, (_index(layer, number), _position(x, y)))])


def direction(layer: str, vector: np.ndarray, cossim_pow: float = 0.0) -> Objective:
    """Mean product of the activations with a vector of one number a channel.

    With `cossim_pow`, the product at each position is multiplied by the cosine of the angle to the
    vector, at least 0.1, to this power: it then matters more where activations point than how
    large they are.
    """
    params = (np.asarray(vector, np.float32), np.float32(cossim_pow))
    return Objective([Term(_direction, layer, params)])


def direction_neuron(
    layer: str,
    vector: np.ndarray,
    x: int | None = None,
    y: int | None = None,
    cossim_pow: float = 0.0,
) -> Objective:
    """`direction` at column `x` and row `y` alone, by default the centre."""
    params = (np.asarray(vector, np.float32), _position(x, y), np.float32(cossim_pow))
    return Objective([Term(_direction_neuron, layer, params)])


def deepdream(layer: str) -> Objective:
    """Mean square of all activations of a layer (Mordvintsev et al. 2015)."""
    return Objective([Term(_square, layer)])


def channel_interpolate(
    layer1: str, number1: int, layer2: str, number2: int, count: int
) -> list[Objective]:
    """Interpolate from one channel to another: an objective for each of `count` images.

    Images that share a part (``param.image(..., shared=True)``) morph into one another.
    """
    if count < 2:
        raise ValueError(f"count is {count}; expected at least 2, the two channels themselves.")
    first, last = channel(layer1, number1), channel(layer2, number2)
    return [(1 - share) * first + share * last for share in np.linspace(0, 1, count)]


def class_logit(label: str) -> Objective:
    """Log-odds of a class, ``"tumor"`` or ``"normal"``, before the head's sigmoid or softmax."""
    signs = {"tumor": 1.0, "normal": -1.0}
    if label not in signs:
        raise ValueError(f"label is {label!r}; expected one of {', '.join(signs)}.")
    return Objective([Term(_logit, LOGIT, weight=signs[label])])


def diversity(layer: str, group: int = 0) -> Objective:
    """Summed similarity of an image's style with that of the others, to be subtracted.

    Style is the matrix of products of channels (the Gram matrix), normalised; similarity is their
    inner product (Olah et al. 2017). Only images of the same `group` in the same batch count: give
    ``[objective - 0.1 * diversity(layer)] * 4`` for four different images of one objective.
    """
    return Objective([Term(_diversity, layer, (np.int32(group),))])


def total_variation(layer: str = INPUT) -> Objective:
    """Sum of absolute differences of neighbours, to be subtracted for smooth images."""
    return Objective([Term(_total_variation, layer)])


def L1(layer: str = INPUT, constant: float = 0.0) -> Objective:
    """Sum of absolute differences from a constant, to be subtracted."""
    return Objective([Term(_l1, layer, (np.float32(constant),))])


def L2(layer: str = INPUT, constant: float = 0.0, epsilon: float = 1e-6) -> Objective:
    """Root of the sum of squared differences from a constant, to be subtracted."""
    return Objective([Term(_l2, layer, (np.float32(constant), np.float32(epsilon)))])


def penalize_boundary_complexity(width: int = 20, constant: float = 0.5) -> Objective:
    """Reward an image whose border, `width` pixels wide, is smooth and close to a constant."""
    params = (np.int32(width), np.float32(constant))
    return Objective([Term(_boundary_complexity, INPUT, params)])


def layers(objectives: Sequence[Objective]) -> list[str]:
    """Names of the network's layers that the objectives measure."""
    names = (term.layer for objective in objectives for term in objective.terms)
    return [name for name in dict.fromkeys(names) if name != INPUT]


def couples(objectives: Sequence[Objective]) -> bool:
    """Whether an objective depends on the other images of its batch."""
    return any(term.measure is _diversity for o in objectives for term in o.terms)


def tabulate(objectives: Sequence[Objective]) -> tuple[tuple, list[tuple[np.ndarray, ...]]]:
    """Sort the terms of objectives by kind.

    Returns
    -------
    kinds : tuple of (measure, layer)
        Hashable: what a traced graph depends on, beside shapes.
    rows : list of (image index, weight, *params)
        The numbers of each kind, stacked.
    """
    table: dict[tuple, list[tuple]] = {}
    for image, objective in enumerate(objectives):
        for term in objective.terms:
            row = (np.int32(image), np.float32(term.weight), *term.params)
            table.setdefault((term.measure, term.layer), []).append(row)
    stacked = [tuple(np.stack(column) for column in zip(*r, strict=True)) for r in table.values()]
    return tuple(table), stacked


def select(rows: Sequence[tuple[np.ndarray, ...]], images: Sequence[int]) -> list[tuple]:
    """Cut tabulated rows to a batch of the images; an image may come more than once."""
    selected = []
    for indices, *columns in rows:
        found = [np.flatnonzero(indices == image) for image in images]
        batch = np.repeat(np.arange(len(images), dtype=np.int32), [len(f) for f in found])
        found = np.concatenate(found)
        selected.append((batch, *(column[found] for column in columns)))
    return selected


def values(
    kinds: tuple, rows: Sequence[Sequence[tf.Tensor]], activations: dict, count: int
) -> tf.Tensor:
    """Evaluate tabulated objectives.

    Parameters
    ----------
    kinds, rows
        From `tabulate`.
    activations : dict of str to tensor (N, h, w, C)
        By layer, with the image under `INPUT` and the log-odds, ``(N,)``, under `LOGIT`.
    count : int
        Number of images N.

    Returns
    -------
    tensor, (N,), float32
    """
    total = tf.zeros(count)
    for (measure, layer), (images, weights, *params) in zip(kinds, rows, strict=True):
        chosen = tf.gather(tf.cast(activations[layer], tf.float32), images)
        terms = weights * measure(chosen, *params)
        total += tf.math.unsorted_segment_sum(terms, images, count)
    return total


def check(objectives: Sequence[Objective], shapes: dict[str, tuple[int | None, ...]]) -> None:
    """Raise ValueError unless layers of these shapes, ``(h, w, C)``, have what is asked for."""
    for term in (term for objective in objectives for term in objective.terms):
        if term.layer in (INPUT, LOGIT) or not term.params:
            continue
        *size, channels = shapes[term.layer]
        number = term.params[0]
        if term.measure in (_channel, _neuron) and number >= channels:
            raise ValueError(
                f"channel {number} of {term.layer} does not exist: the layer has the channels 0 to "
                f"{channels - 1}."
            )
        if term.measure in (_direction, _direction_neuron) and number.shape != (channels,):
            raise ValueError(
                f"the direction in {term.layer} has the shape {number.shape}, but the layer has "
                f"{channels} channels: give a vector of {channels} numbers."
            )
        if term.measure in (_neuron, _direction_neuron):
            x, y = term.params[1]
            if x >= size[1] or y >= size[0]:
                raise ValueError(
                    f"position x={x}, y={y} lies outside of {term.layer}, which has {size[1]} "
                    f"columns and {size[0]} rows for this image: both count from 0."
                )


def _index(layer: str, number: int) -> np.ndarray:
    try:
        index = operator.index(number)
    except TypeError:
        index = -1
    if index < 0:
        raise ValueError(f"channel of {layer} is {number!r}; expected a whole number from 0.")
    return np.int32(index)


def _position(x: int | None, y: int | None) -> np.ndarray:
    if any(value is not None and value < 0 for value in (x, y)):
        raise ValueError(f"position is x={x}, y={y}; expected whole numbers from 0, or none.")
    return np.int32([-1 if value is None else value for value in (x, y)])


def _at(activations, position):
    """Activations at a position an image, ``(n, C)``; -1 is the centre."""
    shape = tf.shape(activations)
    centre = tf.stack([shape[2] // 2, shape[1] // 2])
    position = tf.where(position < 0, centre, position)
    return tf.gather_nd(activations, position[:, ::-1], batch_dims=1)


def _channel(activations, number):
    return tf.reduce_mean(tf.gather(activations, number, axis=-1, batch_dims=1), axis=(1, 2))


def _neuron(activations, number, position):
    return tf.gather(_at(activations, position), number, axis=-1, batch_dims=1)


def _direction(activations, vector, cossim_pow):
    vector, power = vector[:, None, None], cossim_pow[:, None, None]
    return tf.reduce_mean(_aligned(activations, vector, power), axis=(1, 2))


def _direction_neuron(activations, vector, position, cossim_pow):
    return _aligned(_at(activations, position), vector, cossim_pow)


def _aligned(activations, vector, power):
    """Inner product, times the floored cosine to a power, both as Lucid defines them."""
    product = tf.reduce_sum(activations * vector, axis=-1)
    # The floor under the root keeps its gradient finite where all channels are silent.
    lengths = [tf.sqrt(tf.reduce_sum(v * v, axis=-1) + 1e-12) + 1e-4 for v in (activations, vector)]
    return product * tf.maximum(0.1, product / (lengths[0] * lengths[1])) ** power


def _square(activations):
    return tf.reduce_mean(tf.square(activations), axis=(1, 2, 3))


def _logit(logits):
    return logits


def _diversity(activations, group):
    shape = tf.shape(activations)
    flat = tf.reshape(activations, (shape[0], -1, shape[3]))
    grams = tf.linalg.matmul(flat, flat, transpose_a=True)
    grams = tf.math.l2_normalize(grams, axis=(1, 2), epsilon=1e-10)
    similarity = tf.einsum("iab,jab->ij", grams, grams)
    others = (group[:, None] == group) & ~tf.eye(shape[0], dtype=tf.bool)
    return tf.reduce_sum(tf.where(others, similarity, 0), axis=1)


def _total_variation(activations):
    rows = tf.abs(activations[:, 1:] - activations[:, :-1])
    columns = tf.abs(activations[:, :, 1:] - activations[:, :, :-1])
    return tf.reduce_sum(rows, axis=(1, 2, 3)) + tf.reduce_sum(columns, axis=(1, 2, 3))


def _l1(activations, constant):
    axes = tuple(range(1, len(activations.shape)))
    return tf.reduce_sum(tf.abs(activations - _expand(constant, activations)), axis=axes)


def _l2(activations, constant, epsilon):
    axes = tuple(range(1, len(activations.shape)))
    difference = activations - _expand(constant, activations)
    return tf.sqrt(epsilon + tf.reduce_sum(tf.square(difference), axis=axes))


def _boundary_complexity(images, width, constant):
    height, breadth = images.shape[1:3]
    to_edge = np.minimum.outer(_to_edge(height), _to_edge(breadth))[:, :, None]
    border = tf.cast(to_edge < width[:, None, None, None], tf.float32)
    kernel = np.full((5, 5, 1, 1), 0.5, np.float32)
    kernel[1:-1, 1:-1] = 1

    def blur(x):
        weights = tf.constant(np.tile(kernel, (1, 1, x.shape[-1], 1)))
        return tf.nn.depthwise_conv2d(x, weights, (1, 1, 1, 1), "SAME")

    smooth = blur(images) / blur(tf.ones_like(images))
    from_constant = tf.square(images - _expand(constant, images))
    complexity = tf.square(smooth - images) + 0.8 * from_constant
    return -tf.reduce_sum(complexity * border, axis=(1, 2, 3))


def _to_edge(length):
    return np.minimum(np.arange(length), np.arange(length)[::-1])


def _expand(numbers, like):
    return tf.reshape(numbers, (-1, *(1 for _ in like.shape[1:])))
