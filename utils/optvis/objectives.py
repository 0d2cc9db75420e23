"""What an image is to maximise.

An objective is a weighted sum of measures of layers. Objectives add, subtract, negate and multiply
by numbers, and a list of them, one an image, is evaluated as one batch: their numbers (channels,
positions, weights) are tensors, so that a graph which was traced for some channels serves all.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

INPUT = "input"  # the layer name of the image itself, in [0, 1]


@dataclass(frozen=True)
class Term:
    """A weight times a measure of one layer: ``measure(activations, *params)``, one an image."""

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
    """Mean activation of a channel (Lucid's ``channel``)."""
    return Objective([Term(_channel, layer, (_index(layer, number),))])


def neuron(layer: str, number: int, x: int | None = None, y: int | None = None) -> Objective:
    """Activation of a channel at one position, by default the centre (Lucid's ``neuron``)."""
    position = [-1 if value is None else value for value in (x, y)]
    return Objective([Term(_neuron, layer, (_index(layer, number), np.int32(position)))])


def direction(layer: str, vector: np.ndarray) -> Objective:
    """Mean product of the activations with a vector of one number a channel."""
    return Objective([Term(_direction, layer, (np.asarray(vector, np.float32),))])


def deepdream(layer: str) -> Objective:
    """Mean square of all activations of a layer."""
    return Objective([Term(_square, layer)])


def total_variation(layer: str = INPUT) -> Objective:
    """Sum of absolute differences of neighbours, to be subtracted for smooth images."""
    return Objective([Term(_total_variation, layer)])


def varying_channels(response: np.ndarray) -> np.ndarray:
    """Numbers of the channels whose response, ``(N, C)``, is not the same for all N patches."""
    return np.flatnonzero(np.ptp(response, axis=0) > 1e-5 * np.abs(response).max())


def sample_channels(
    responses: Mapping[str, np.ndarray], count: int, *, seed: int = 0
) -> dict[str, list[int]]:
    """Draw channels of each layer among those whose response varies from patch to patch.

    A channel that is constant on every patch, as those of a branch without weights are, has no
    image that excites it more, and is left out. The draw of a layer does not depend on the others.

    Parameters
    ----------
    responses : mapping of str to array, (N, C)
        Mean activation of each channel on some patches, by layer.
    count : int
        Channels a layer.
    seed : int
        Of the draw.

    Returns
    -------
    dict of str to list of int
        Sorted channel numbers, by layer.
    """
    chosen = {}
    for layer, response in responses.items():
        alive = varying_channels(response)
        if len(alive) < count:
            raise ValueError(
                f"{layer} has {len(alive)} channels that vary over the patches; expected at least "
                f"{count}."
            )
        own_seed = [seed, zlib.crc32(layer.encode())]  # whatever other layers are asked for
        draw = np.random.default_rng(own_seed).permutation(alive)[:count]
        chosen[layer] = sorted(int(number) for number in draw)
    return chosen


def layers(objectives: Sequence[Objective]) -> list[str]:
    """Names of the network's layers that the objectives measure."""
    names = (term.layer for objective in objectives for term in objective.terms)
    return [name for name in dict.fromkeys(names) if name != INPUT]


def tabulate(objectives: Sequence[Objective]) -> tuple[tuple, list[tuple[np.ndarray, ...]]]:
    """Sort the terms of a batch of objectives by kind.

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


def values(
    kinds: tuple, rows: Sequence[Sequence[tf.Tensor]], activations: dict, count: int
) -> tf.Tensor:
    """Evaluate tabulated objectives.

    Parameters
    ----------
    kinds, rows
        From `tabulate`.
    activations : dict of str to tensor (N, h, w, C)
        By layer, with the image under `INPUT`.
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


def _index(layer: str, number: int) -> np.ndarray:
    if number < 0 or number != int(number):
        raise ValueError(f"channel of {layer} is {number}; expected a whole number from 0.")
    return np.int32(number)


def _channel(activations, number):
    return tf.reduce_mean(tf.gather(activations, number, axis=-1, batch_dims=1), axis=(1, 2))


def _neuron(activations, number, position):
    shape = tf.shape(activations)
    centre = tf.stack([shape[2] // 2, shape[1] // 2])
    position = tf.where(position < 0, centre, position)
    place = tf.stack([position[:, 1], position[:, 0], number], axis=-1)
    return tf.gather_nd(activations, place, batch_dims=1)


def _direction(activations, vector):
    return tf.reduce_mean(tf.einsum("nhwc,nc->nhw", activations, vector), axis=(1, 2))


def _square(activations):
    return tf.reduce_mean(tf.square(activations), axis=(1, 2, 3))


def _total_variation(activations):
    rows = tf.abs(activations[:, 1:] - activations[:, :-1])
    columns = tf.abs(activations[:, :, 1:] - activations[:, :, :-1])
    return tf.reduce_sum(rows, axis=(1, 2, 3)) + tf.reduce_sum(columns, axis=(1, 2, 3))
