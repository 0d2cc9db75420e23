"""Small random movements of the image, which keep optimisation from finding adversarial noise.

A transform turns uniform random numbers into an affine map from output to input coordinates, for
each image by itself. A chain of transforms is one map and is applied in one interpolation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Transform:
    """A random affine map.

    Attributes
    ----------
    numbers : int
        Random numbers that one image takes.
    matrix : callable
        Maps uniform numbers in [0, 1), ``(N, numbers)``, to matrices, ``(N, 3, 3)``, for x and y in
        pixels from the image's centre.
    """

    numbers: int
    matrix: Callable[[tf.Tensor], tf.Tensor]


def jitter(pixels: int) -> Transform:
    """Shift by whole pixels, up to half of `pixels` each way (Lucid's ``jitter``)."""

    def matrix(uniform: tf.Tensor) -> tf.Tensor:
        shift = tf.floor(uniform * (pixels + 1)) - pixels // 2
        zero = tf.zeros_like(shift[:, 0])
        return _matrix([[zero + 1, zero, shift[:, 0]], [zero, zero + 1, shift[:, 1]]])

    return Transform(2, matrix)


def random_scale(factors: Sequence[float]) -> Transform:
    """Scale by one of `factors`."""

    def matrix(uniform: tf.Tensor) -> tf.Tensor:
        inverse = 1 / _choose(uniform, factors)
        zero = tf.zeros_like(inverse)
        return _matrix([[inverse, zero, zero], [zero, inverse, zero]])

    return Transform(1, matrix)


def random_rotate(degrees: Sequence[float]) -> Transform:
    """Rotate about the centre by one of `degrees`."""

    def matrix(uniform: tf.Tensor) -> tf.Tensor:
        angle = _choose(uniform, degrees) * np.float32(np.pi / 180)
        cos, sin, zero = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle)
        return _matrix([[cos, -sin, zero], [sin, cos, zero]])

    return Transform(1, matrix)


def compose(transforms: Sequence[Transform]) -> Transform:
    """Chain transforms, the first one first."""

    def matrix(uniform: tf.Tensor) -> tf.Tensor:
        total, used = tf.eye(3, batch_shape=tf.shape(uniform)[:1]), 0
        for transform in transforms:
            total = total @ transform.matrix(uniform[:, used : used + transform.numbers])
            used += transform.numbers
        return total

    return Transform(sum(transform.numbers for transform in transforms), matrix)


def standard() -> list[Transform]:
    """Return Lucid's standard set: jitter, scale by a tenth, rotate by 10 degrees, jitter."""
    return [
        jitter(8),
        random_scale([1 + (i - 5) / 50 for i in range(11)]),
        random_rotate([*range(-10, 11), 0, 0, 0, 0, 0]),
        jitter(4),
    ]


def draw(transform: Transform, seeds: Sequence[int], step: int) -> np.ndarray:
    """Draw the numbers of a step, ``(N, numbers)``, each image's from its own seed alone."""
    generators = [np.random.default_rng([seed, step]) for seed in seeds]
    return np.stack([g.random(transform.numbers, dtype=np.float32) for g in generators])


def apply(images: tf.Tensor, transform: Transform, uniform: tf.Tensor) -> tf.Tensor:
    """Move images; what comes in from outside is grey, as behind Lucid's padding.

    Parameters
    ----------
    images : tensor, (N, H, W, 3), float32
    transform : Transform
    uniform : tensor, (N, transform.numbers), float32
        From `draw`.
    """
    shape = tf.shape(images)
    x, y = (tf.cast(shape[2], tf.float32) - 1) / 2, (tf.cast(shape[1], tf.float32) - 1) / 2
    matrix = transform.matrix(uniform)
    # From coordinates about the centre to those about the corner, which the operation takes.
    shift_x = matrix[:, 0, 2] + x - matrix[:, 0, 0] * x - matrix[:, 0, 1] * y
    shift_y = matrix[:, 1, 2] + y - matrix[:, 1, 0] * x - matrix[:, 1, 1] * y
    zero = tf.zeros_like(shift_x)
    rows = [matrix[:, 0, 0], matrix[:, 0, 1], shift_x, matrix[:, 1, 0], matrix[:, 1, 1], shift_y]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([*rows, zero, zero], axis=-1),
        output_shape=shape[1:3],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.5,
    )


def _choose(uniform: tf.Tensor, options: Sequence[float]) -> tf.Tensor:
    index = tf.cast(tf.floor(uniform[:, 0] * len(options)), tf.int32)
    return tf.gather(tf.constant(options, tf.float32), index)


def _matrix(rows: list[list[tf.Tensor]]) -> tf.Tensor:
    zero = tf.zeros_like(rows[0][0])
    rows = [*rows, [zero, zero, zero + 1]]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=1)
