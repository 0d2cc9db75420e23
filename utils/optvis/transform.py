"""Small random movements of the image, which keep optimisation from finding adversarial noise.

A transform draws, for each image and step, an affine map from output to input coordinates. A chain
of them is one map and is applied in one interpolation. Draws are stateless: the seed of the image
and the number of the step decide them, so that an image does not depend on its batch.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Draws for seeds (N, 2) the matrices (N, 3, 3), for coordinates from the image's centre in pixels.
Transform = Callable[[tf.Tensor], tf.Tensor]


def jitter(pixels: int) -> Transform:
    """Shift by whole pixels, up to half of `pixels` each way (Lucid's ``jitter``)."""

    def draw(seeds: tf.Tensor) -> tf.Tensor:
        shift = _uniform(seeds, 2, 0, pixels + 1)
        shift = tf.floor(tf.minimum(shift, float(pixels))) - pixels // 2
        zero, one = _constants(seeds)
        return _matrix([[one, zero, shift[:, 0]], [zero, one, shift[:, 1]]])

    return draw


def random_scale(factors: Sequence[float]) -> Transform:
    """Scale by one of `factors`."""

    def draw(seeds: tf.Tensor) -> tf.Tensor:
        inverse = 1 / _choice(seeds, factors)
        zero, _ = _constants(seeds)
        return _matrix([[inverse, zero, zero], [zero, inverse, zero]])

    return draw


def random_rotate(degrees: Sequence[float]) -> Transform:
    """Rotate about the centre by one of `degrees`."""

    def draw(seeds: tf.Tensor) -> tf.Tensor:
        angle = _choice(seeds, degrees) * (3.14159265 / 180)
        cos, sin, zero = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle)
        return _matrix([[cos, -sin, zero], [sin, cos, zero]])

    return draw


def compose(transforms: Sequence[Transform]) -> Transform:
    """Chain transforms, the first one first."""

    def draw(seeds: tf.Tensor) -> tf.Tensor:
        total = tf.eye(3, batch_shape=tf.shape(seeds)[:1])
        for number, transform in enumerate(transforms):
            total = total @ transform(seeds + tf.constant([0, 7919 * (number + 1)]))
        return total

    return draw


def standard() -> list[Transform]:
    """Return Lucid's standard set: jitter, scale by a tenth, rotate by 10 degrees, jitter."""
    return [
        jitter(8),
        random_scale([1 + (i - 5) / 50 for i in range(11)]),
        random_rotate([*range(-10, 11), 0, 0, 0, 0, 0]),
        jitter(4),
    ]


def apply(images: tf.Tensor, transform: Transform, seeds: tf.Tensor) -> tf.Tensor:
    """Move images; what comes in from outside is grey, as behind Lucid's padding.

    Parameters
    ----------
    images : tensor, (N, H, W, 3), float32
    transform : Transform
    seeds : tensor, (N, 2), int32
        Of the draw, for each image.
    """
    shape = tf.shape(images)
    x, y = (tf.cast(shape[2], tf.float32) - 1) / 2, (tf.cast(shape[1], tf.float32) - 1) / 2
    matrix = transform(seeds)
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


def _uniform(seeds: tf.Tensor, count: int, low: float, high: float) -> tf.Tensor:
    """Draw (N, count) numbers, row i from the seed i alone."""
    return tf.vectorized_map(
        lambda seed: tf.random.stateless_uniform((count,), seed, float(low), float(high)), seeds
    )


def _choice(seeds: tf.Tensor, options: Sequence[float]) -> tf.Tensor:
    index = tf.cast(_uniform(seeds, 1, 0, len(options))[:, 0], tf.int32)
    return tf.gather(tf.constant(options, tf.float32), tf.minimum(index, len(options) - 1))


def _constants(seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    zero = tf.zeros(tf.shape(seeds)[0])
    return zero, zero + 1


def _matrix(rows: list[list[tf.Tensor]]) -> tf.Tensor:
    zero = tf.zeros_like(rows[0][0])
    rows = [*rows, [zero, zero, zero + 1]]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=1)
