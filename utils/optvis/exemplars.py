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
class Exemplars:
    """The patches that come first for a channel, each cut to what its best position sees."""

    channel: int
    patches: np.ndarray  # (n,), indices
    scores: np.ndarray  # (n,): mean activation, or sum of relevance
    boxes: np.ndarray  # (n, 4), top, left, bottom and right, in pixels of the patch
    images: list[np.ndarray]  # of each, (h, w, 3), uint8


def channel_scores(
    model: Model, images: np.ndarray, layer: str, channels: Sequence[int], by: str = BY[0]
) -> tuple[np.ndarray, np.ndarray]:
    """Score channels on patches, and find their best positions, in one pass.

    Parameters
    ----------
    model : Model, with a head for relevance
    images : array, (N, H, W, 3), uint8, which may be on disk
    layer : str
    channels : sequence of int, K channels of the layer
    by : str
        ``activation``: the mean over positions; ``relevance``: the sum over positions of activation
        times the derivative of the log-odds of tumor.

    Returns
    -------
    scores : array, (N, K), float32
    best : array, (N, K, 2), int
        Row and column of the position at which the activation, or the relevance, is highest.
    """
    if by not in BY:
        raise ValueError(f"by is {by!r}; expected {' or '.join(BY)}.")
    model.check_spatial([layer])
    count = model.layer(layer).output.shape[-1]
    if wrong := [number for number in channels if not 0 <= number < count]:
        raise ValueError(f"{layer} has {count} channels, from 0; {wrong} are none of them.")
    build = _relevance if by == "relevance" else _activation
    passes = model.map(build, layer, tuple(channels), images=images, description=by)
    scores, best = zip(*((s.numpy(), b.numpy()) for s, b in passes), strict=True)
    return np.concatenate(scores), np.concatenate(best)


def _activation(model: Model, layer: str, channels: tuple[int, ...]) -> Callable:
    network = model.submodel([layer])

    def score(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values = tf.gather(network(batch, training=False)[layer], channels, axis=-1)
        return tf.reduce_mean(values, axis=(1, 2)), _highest(values)

    return score


def _relevance(model: Model, layer: str, channels: tuple[int, ...]) -> Callable:
    forward_and_backward = model.activations_and_gradients([layer])

    def score(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        activations, gradients, _ = forward_and_backward(batch)
        values = tf.gather(activations[layer] * gradients[layer], channels, axis=-1)
        return tf.reduce_sum(values, axis=(1, 2)), _highest(values)

    return score


def _highest(values: tf.Tensor) -> tf.Tensor:
    """Row and column of the highest of values, ``(n, h, w, K)``, as ``(n, K, 2)``."""
    shape = tf.shape(values)
    flat = tf.reshape(values, (shape[0], shape[1] * shape[2], shape[3]))
    place = tf.argmax(flat, axis=1, output_type=tf.int32)
    return tf.stack([place // shape[2], place % shape[2]], axis=-1)


def exemplars(
    model: Model,
    patches: PatchSet,
    layer: str,
    channels: Sequence[int],
    *,
    by: str = BY[0],
    count: int = 4,
) -> list[Exemplars]:
    """Find the patches that excite channels most, each cut to its best position's receptive field.

    What lies on the same place of a slide, such as the same nucleus in overlapping patches, comes
    once: of exemplars whose centres are closer than half the side of their cuts, the first.

    Parameters
    ----------
    model, layer, channels, by
        As in `channel_scores`.
    patches : PatchSet
    count : int
        Largest number of exemplars per channel.

    Returns
    -------
    list of Exemplars, one per channel
    """
    scores, best = channel_scores(model, patches.images, layer, channels, by)
    size = patches.images.shape[1:3]
    axes = positions(model, layer, size)
    places = np.stack([a.first + a.step * best[..., i] for i, a in enumerate(axes)], axis=-1)
    sides = [min(axis.field, side) for axis, side in zip(axes, size, strict=True)]
    corners = np.rint(places - (np.array(sides) - 1) / 2).astype(int)
    corners = np.clip(corners, 0, np.array(size) - sides)  # the field may end beyond the patch
    chosen = []
    for k, channel in enumerate(channels):
        order = np.argsort(-scores[:, k], kind="stable")
        rows = _distinct(patches, order, places[:, k], max(sides) / 2, count)
        boxes = np.concatenate([corners[rows, k], corners[rows, k] + sides], axis=1)
        images = [
            np.asarray(patches.images[row])[top:bottom, left:right]
            for row, (top, left, bottom, right) in zip(rows, boxes, strict=True)
        ]
        chosen.append(Exemplars(channel, rows, scores[rows, k], boxes, images))
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
