"""Objectives as tables of numbers, so that one graph evaluates any batch of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from utils.optvis.objectives import INPUT, LOGIT, Objective, similarity

Rows = dict[str, np.ndarray]  # the images, weights and params of all terms of one kind


def layers(objectives: Sequence[Objective]) -> list[str]:
    """Names of the network's layers that the objectives measure."""
    names = (term.layer for objective in objectives for term in objective.terms)
    return [name for name in dict.fromkeys(names) if name != INPUT]


def check(objectives: Sequence[Objective], shapes: Mapping[str, tuple[int, int, int]]) -> None:
    """Raise ValueError unless layers of these shapes have the channels and positions measured."""
    for term in (term for objective in objectives for term in objective.terms):
        if term.layer in (INPUT, LOGIT):
            continue
        height, width, channels = shapes[term.layer]
        number, vector = term.params.get("number", 0), term.params.get("vector")
        if number not in range(channels):
            raise ValueError(
                f"channel {number:g} of {term.layer} does not exist: the layer has the channels 0 "
                f"to {channels - 1}."
            )
        if vector is not None and vector.shape != (channels,):
            raise ValueError(
                f"the direction in {term.layer} has the shape {vector.shape}, but the layer has "
                f"{channels} channels: give a vector of {channels} numbers."
            )
        x, y = term.params.get("position", (0, 0))
        if not all(np.isnan(i) or i in range(n) for i, n in ((x, width), (y, height))):
            raise ValueError(
                f"position x={x:g}, y={y:g} lies outside of {term.layer}, which has {width} "
                f"columns and {height} rows for this image: both count from 0."
            )


def couples(objectives: Sequence[Objective]) -> bool:
    """Whether an objective depends on the other images of its batch."""
    return any(term.measure is similarity for o in objectives for term in o.terms)


def tabulate(objectives: Sequence[Objective]) -> tuple[tuple, list[Rows]]:
    """Sort terms by kind, ``(measure, layer)``, on which a traced graph depends, into rows."""
    table: dict[tuple, list[Rows]] = {}
    for image, objective in enumerate(objectives):
        for term in objective.terms:
            row = {"image": np.int32(image), "weight": np.float32(term.weight), **term.params}
            table.setdefault((term.measure, term.layer), []).append(row)
    stacked = [{k: np.stack([row[k] for row in rows]) for k in rows[0]} for rows in table.values()]
    return tuple(table), stacked


def select(table: Sequence[Rows], images: Sequence[int]) -> list[Rows]:
    """Cut tabulated rows to a batch of the images; an image may come more than once."""
    selected = []
    for rows in table:
        places, terms = np.nonzero(np.asarray(images)[:, None] == rows["image"])
        chosen = {key: column[terms] for key, column in rows.items()}
        selected.append(chosen | {"image": np.int32(places)})
    return selected


def values(
    kinds: tuple, table: Sequence[Mapping[str, tf.Tensor]], activations: dict, count: int
) -> tf.Tensor:
    """Evaluate the tabulated objectives of `count` images from activations by layer, ``(N,)``."""
    total = tf.zeros(count)
    for (measure, layer), rows in zip(kinds, table, strict=True):
        params = dict(rows)
        images, weights = params.pop("image"), params.pop("weight")
        measured = measure(tf.gather(tf.cast(activations[layer], tf.float32), images), **params)
        total += tf.math.unsorted_segment_sum(weights * measured, images, count)
    return total
