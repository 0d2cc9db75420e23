"""Objectives: what an image maximises.

An objective is a weighted sum of measures of layers. Objectives add, subtract, negate and multiply
by numbers, and a list of them, one per image, is evaluated as one batch: their numbers (channels,
positions, weights) are tensors, so that a graph traced for some channels serves all.

Lucid averages a measure over its batch, or is told an image by ``batch=``; here every objective is
of one image, and there is one objective per image.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from utils.optvis import measures

INPUT = "input"  # the layer name of the image itself, in [0, 1], before transforms
LOGIT = "logit"  # the layer name of the log-odds of tumor


@dataclass(frozen=True)
class Term:
    """A weight times a measure of a layer, with the numbers that the measure takes."""

    measure: Callable[..., tf.Tensor]
    layer: str
    params: tuple[np.ndarray, ...] = ()
    weight: float = 1.0

    def __str__(self) -> str:
        params = "".join(f", {np.array2string(p, threshold=4)}" for p in self.params)
        return f"{self.weight:g} {self.measure.__name__}({self.layer}{params})"


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
        return " + ".join(str(term) for term in self.terms)


def channel(layer: str, number: int) -> Objective:
    """Mean activation of a channel."""
    return _objective(measures.channel, layer, _index(layer, number))


def neuron(layer: str, number: int, x: int | None = None, y: int | None = None) -> Objective:
    """Activation of a channel at column `x` and row `y`, by default the centre.

    Lucid's ``neuron`` counts rows by ``x`` and columns by ``y``.
    """
    return _objective(measures.neuron, layer, _index(layer, number), _position(x, y))


def direction(layer: str, vector: np.ndarray, cossim_pow: float = 0.0) -> Objective:
    """Mean product of the activations with a vector of one number per channel.

    With `cossim_pow`, the product at each position is multiplied by the cosine of the angle to the
    vector, at least 0.1, to this power: it then matters more where activations point than how
    large they are.
    """
    return _objective(measures.direction, layer, np.float32(vector), np.float32(cossim_pow))


def direction_neuron(
    layer: str,
    vector: np.ndarray,
    x: int | None = None,
    y: int | None = None,
    cossim_pow: float = 0.0,
) -> Objective:
    """`direction` at column `x` and row `y` alone, by default the centre."""
    params = np.float32(vector), _position(x, y), np.float32(cossim_pow)
    return _objective(measures.direction_neuron, layer, *params)


def deepdream(layer: str) -> Objective:
    """Mean square of all activations of a layer (Mordvintsev et al. 2015)."""
    return _objective(measures.square, layer)


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
    return signs[label] * _objective(measures.logit, LOGIT)


def diversity(layer: str, group: int = 0) -> Objective:
    """Summed similarity of an image's style with that of the others, to be subtracted.

    Style is the matrix of products of channels (the Gram matrix), normalised; similarity is their
    inner product (Olah et al. 2017). Only images of the same `group` in the same batch count: give
    ``[objective - 0.1 * diversity(layer)] * 4`` for four different images of one objective.
    """
    return _objective(measures.diversity, layer, np.int32(group))


def total_variation(layer: str = INPUT) -> Objective:
    """Sum of absolute differences of neighbours, to be subtracted for smooth images."""
    return _objective(measures.total_variation, layer)


def L1(layer: str = INPUT, constant: float = 0.0) -> Objective:
    """Sum of absolute differences from a constant, to be subtracted."""
    return _objective(measures.l1, layer, np.float32(constant))


def L2(layer: str = INPUT, constant: float = 0.0, epsilon: float = 1e-6) -> Objective:
    """Root of the sum of squared differences from a constant, to be subtracted."""
    return _objective(measures.l2, layer, np.float32(constant), np.float32(epsilon))


def penalize_boundary_complexity(width: int = 20, constant: float = 0.5) -> Objective:
    """Reward an image whose border, `width` pixels wide, is smooth and close to a constant."""
    return _objective(measures.boundary_complexity, INPUT, np.int32(width), np.float32(constant))


def _objective(measure: Callable[..., tf.Tensor], layer: str, *params: np.ndarray) -> Objective:
    return Objective([Term(measure, layer, params)])


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
