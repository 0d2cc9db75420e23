"""Real patches that excite a channel, by activation or by its relevance for tumor.

Relevance after Achtibat et al., "From attribution maps to human-understandable explanations through
Concept Relevance Propagation", Nature Machine Intelligence 2023, by gradients: activation times the
derivative of the log-odds of tumor. People predict activations better from such patches than from
channel images (Borowski et al., ICLR 2021).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from utils.networks import Model, positions
from utils.patches import PatchSet

BY = ("activation", "relevance")


@dataclass(frozen=True)
class ChannelScores:
    """Scores of the C channels of a layer on N patches."""

    layer: str
    values: np.ndarray  # (N, C), float32: mean activation, or sum of relevance, over positions
    best: np.ndarray  # (N, C, 2), row and column of the position at which each is highest


@dataclass(frozen=True)
class Exemplars:
    """The patches that come first for a channel, each cut to what its best position sees."""

    channel: int
    patches: np.ndarray  # (n,), indices
    scores: np.ndarray  # (n,): mean activation, or sum of relevance
    boxes: np.ndarray  # (n, 4), top, left, bottom and right, in pixels of the patch
    images: list[np.ndarray]  # of each, (h, w, 3), uint8


def channel_scores(model: Model, images: np.ndarray, layer: str) -> dict[str, ChannelScores]:
    """Score the channels of a layer on patches by activation and by relevance, in one pass.

    Relevance is activation times the derivative of the log-odds of tumor.

    Parameters
    ----------
    model : Model, with a head
    images : array, (N, H, W, 3), uint8, which may be on disk
    layer : str

    Returns
    -------
    dict of str to ChannelScores, by ``activation`` and ``relevance``
    """
    model.check_spatial([layer])
    passes = model.map(_both_scores, layer, images=images, description=f"relevance, {layer}")
    columns = [np.concatenate(column) for column in zip(*passes, strict=True)]
    return {name: ChannelScores(layer, *columns[2 * i : 2 * i + 2]) for i, name in enumerate(BY)}


def _both_scores(model: Model, layer: str) -> Callable:
    """Make the function from a batch to values and best positions of both scores."""
    forward_and_backward = model.activations_and_gradients([layer])

    def score(batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        activations, gradients, _ = forward_and_backward(batch)
        values, relevance = activations[layer], activations[layer] * gradients[layer]
        mean, total = tf.reduce_mean(values, axis=(1, 2)), tf.reduce_sum(relevance, axis=(1, 2))
        return mean, _highest(values), total, _highest(relevance)

    return score


def _highest(values: tf.Tensor) -> tf.Tensor:
    """Row and column of the highest of values, ``(n, h, w, K)``, as ``(n, K, 2)``."""
    shape = tf.shape(values)
    flat = tf.reshape(values, (shape[0], shape[1] * shape[2], shape[3]))
    place = tf.argmax(flat, axis=1, output_type=tf.int32)
    return tf.stack([place // shape[2], place % shape[2]], axis=-1)


def most_relevant(relevance: ChannelScores, of_tumor: np.ndarray, count: int) -> list[int]:
    """Choose the channels that raise the log-odds of tumor most, on average over tumor patches.

    Parameters
    ----------
    relevance : ChannelScores
    of_tumor : array, (N,), bool
    count : int

    Returns
    -------
    list of int, the highest first
    """
    if not of_tumor.any():
        raise ValueError("no patch is of tumor; expected some, over which relevance is averaged.")
    means = relevance.values[of_tumor].mean(axis=0)
    return np.argsort(-means, kind="stable")[:count].tolist()


def exemplars(
    model: Model,
    patches: PatchSet,
    channels: Sequence[int],
    scores: ChannelScores,
    *,
    count: int = 4,
) -> list[Exemplars]:
    """Find the patches that come first for channels, each cut to its best position's field.

    What lies on the same place of a slide, such as the same nucleus in overlapping patches, comes
    once: of exemplars whose centres are closer than half the side of their cuts, the first.

    Parameters
    ----------
    model : Model
    patches : PatchSet
    channels : sequence of int
    scores : ChannelScores
        Scores of the patches, from `channel_scores`.
    count : int
        Largest number of exemplars per channel.

    Returns
    -------
    list of Exemplars, one per channel
    """
    total = scores.values.shape[1]
    if wrong := [number for number in channels if not 0 <= number < total]:
        raise ValueError(f"{scores.layer} has {total} channels, from 0; {wrong} are none of them.")
    if len(scores.values) != len(patches):
        raise ValueError(f"scores of {len(scores.values)} patches for {len(patches)} patches.")
    size = patches.images.shape[1:3]
    axes = positions(model, scores.layer, size)
    sides = [min(axis.field, side) for axis, side in zip(axes, size, strict=True)]
    chosen = []
    for channel in channels:
        values, best = scores.values[:, channel], scores.best[:, channel]
        places = np.stack([a.first + a.step * best[:, i] for i, a in enumerate(axes)], axis=-1)
        corners = np.rint(places - (np.array(sides) - 1) / 2).astype(int)
        corners = np.clip(corners, 0, np.array(size) - sides)  # the field may end beyond the patch
        order = np.argsort(-values, kind="stable")
        rows = _distinct(patches, order, places, max(sides) / 2, count)
        boxes = np.concatenate([corners[rows], corners[rows] + sides], axis=1)
        images = [
            np.asarray(patches.images[row])[top:bottom, left:right]
            for row, (top, left, bottom, right) in zip(rows, boxes, strict=True)
        ]
        chosen.append(Exemplars(channel, rows, values[rows], boxes, images))
    return chosen


def _distinct(
    patches: PatchSet, order: np.ndarray, places: np.ndarray, distance: float, count: int
) -> np.ndarray:
    """Take patches in order, without those whose place on the slide is close to a taken one's."""
    scale = patches.extents[:, 0] / patches.images.shape[2]  # positions per pixel
    centres = patches.positions + places[:, ::-1] * scale[:, None]  # x and y
    sources = np.where((patches.positions >= 0).all(axis=1), patches.sources, "")  # "" if unknown
    taken: list[int] = []
    for row in order:
        same = [t for t in taken if sources[t] == sources[row] != ""]
        gaps = np.abs(centres[same] - centres[row]).max(axis=1, initial=0)
        if not (gaps < distance * scale[row]).any():
            taken.append(row)
        if len(taken) == count:
            break
    return np.array(taken)
