"""Objectives as tables of numbers, so that one graph evaluates any batch of them."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from utils.optvis import measures
from utils.optvis.objectives import INPUT, LOGIT, Objective


def layers(objectives: Sequence[Objective]) -> list[str]:
    """Names of the network's layers that the objectives measure."""
    names = (term.layer for objective in objectives for term in objective.terms)
    return [name for name in dict.fromkeys(names) if name != INPUT]


def couples(objectives: Sequence[Objective]) -> bool:
    """Whether an objective depends on the other images of its batch."""
    return any(term.measure is measures.diversity for o in objectives for term in o.terms)


def tabulate(objectives: Sequence[Objective]) -> tuple[tuple, list[tuple[np.ndarray, ...]]]:
    """Sort the terms of objectives by kind.

    Returns the kinds, ``(measure, layer)``, on which a traced graph depends, and for each
    kind the stacked numbers of its terms, ``(image index, weight, *params)``.
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
        places, terms = np.nonzero(np.asarray(images)[:, None] == indices)
        selected.append((np.int32(places), *(column[terms] for column in columns)))
    return selected


def values(
    kinds: tuple, rows: Sequence[Sequence[tf.Tensor]], activations: dict, count: int
) -> tf.Tensor:
    """Evaluate the tabulated objectives of `count` images from activations by layer, ``(N,)``.

    Among the activations, ``(N, h, w, C)``, are the image under `INPUT` and the log-odds, ``(N,)``,
    under `LOGIT`.
    """
    total = tf.zeros(count)
    for (measure, layer), (images, weights, *params) in zip(kinds, rows, strict=True):
        chosen = tf.gather(tf.cast(activations[layer], tf.float32), images)
        terms = weights * measure(chosen, *params)
        total += tf.math.unsorted_segment_sum(terms, images, count)
    return total


def check(objectives: Sequence[Objective], shapes: dict[str, tuple[int | None, ...]]) -> None:
    """Raise ValueError unless layers of these shapes, ``(h, w, C)``, have these channels."""
    for term in (term for objective in objectives for term in objective.terms):
        if term.layer in (INPUT, LOGIT) or not term.params:
            continue
        *size, channels = shapes[term.layer]
        number = term.params[0]
        if term.measure in (measures.channel, measures.neuron) and number >= channels:
            raise ValueError(
                f"channel {number} of {term.layer} does not exist: the layer has the channels 0 to "
                f"{channels - 1}."
            )
        along = term.measure in (measures.direction, measures.direction_neuron)
        if along and number.shape != (channels,):
            raise ValueError(
                f"the direction in {term.layer} has the shape {number.shape}, but the layer has "
                f"{channels} channels: give a vector of {channels} numbers."
            )
        if term.measure in (measures.neuron, measures.direction_neuron):
            x, y = term.params[1]
            if x >= size[1] or y >= size[0]:
                raise ValueError(
                    f"position x={x}, y={y} lies outside of {term.layer}, which has {size[1]} "
                    f"columns and {size[0]} rows for this image: both count from 0."
                )
