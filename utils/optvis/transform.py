"""Small random movements of the image, which keep optimisation from finding adversarial noise.

A transform turns uniform random numbers into an affine map from output to input coordinates, for
each image separately, and says how large the output is. A chain of transforms is one map, and is
applied in one interpolation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

Size = tuple[int, int]  # height and width, in pixels


def _identity(uniform: tf.Tensor) -> tf.Tensor:
    return tf.eye(3, batch_shape=tf.shape(uniform)[:1])


@dataclass(frozen=True)
class Transform:
    """A random affine map.

    `matrix` maps uniform numbers in [0, 1), ``(N, numbers)``, to matrices, ``(N, 3, 3)``, which map
    x and y, in pixels from the centre of the output, to those from the centre of the input.
    """

    resize: Callable[[Size], Size]  # from the size of the input to that of the output
    numbers: int = 0  # random numbers per image
    matrix: Callable[[tf.Tensor], tf.Tensor] = _identity


def pad(pixels: int) -> Transform:
    """Add grey on all four sides (Lucid's ``pad`` with a constant)."""
    _check_pixels("pad", pixels)
    return Transform(lambda size: (size[0] + 2 * pixels, size[1] + 2 * pixels))


def jitter(pixels: int) -> Transform:
    """Crop to `pixels` less in height and width, at a random place (Lucid's ``jitter``)."""
    _check_pixels("jitter", pixels)

    def matrix(uniform: tf.Tensor) -> tf.Tensor:
        shift = tf.floor(uniform * (pixels + 1)) - pixels / 2
        zero = tf.zeros_like(shift[:, 0])
        return _matrix([zero + 1, zero, shift[:, 0]], [zero, zero + 1, shift[:, 1]])

    return Transform(lambda size: (size[0] - pixels, size[1] - pixels), 2, matrix)


def random_scale(factors: Sequence[float]) -> Transform:
    """Scale by one of `factors` (Lucid's ``random_scale``, on a canvas of constant size)."""

    def matrix(factor: tf.Tensor) -> tf.Tensor:
        inverse, zero = 1 / factor, tf.zeros_like(factor)
        return _matrix([inverse, zero, zero], [zero, inverse, zero])

    return _random_choice("random_scale", factors, matrix)


def random_rotate(degrees: Sequence[float]) -> Transform:
    """Rotate about the centre by one of `degrees` (Lucid's ``random_rotate``)."""

    def matrix(angle: tf.Tensor) -> tf.Tensor:
        angle *= np.float32(np.pi / 180)
        cos, sin, zero = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle)
        return _matrix([cos, -sin, zero], [sin, cos, zero])

    return _random_choice("random_rotate", degrees, matrix)


def crop_or_pad(height: int, width: int) -> Transform:
    """Cut, or fill up with grey, to this size about the centre (Lucid's ``crop_or_pad_to``)."""
    _check_pixels("crop_or_pad", min(height, width))
    return Transform(lambda size: (height, width))


def compose(transforms: Sequence[Transform]) -> Transform:
    """Chain transforms, the first one first."""
    transforms = tuple(transforms)

    def matrix(uniform: tf.Tensor) -> tf.Tensor:
        total, used = _identity(uniform), 0
        for transform in transforms:
            total = total @ transform.matrix(uniform[:, used : used + transform.numbers])
            used += transform.numbers
        return total

    def resize(size: Size) -> Size:
        for transform in transforms:
            size = transform.resize(size)
        return size

    return Transform(resize, sum(transform.numbers for transform in transforms), matrix)


def light() -> list[Transform]:
    """Return shifts by up to 2 pixels, to keep as much detail as possible."""
    return [pad(2), jitter(4)]


def standard(strength: int = 1) -> list[Transform]:
    """Return Lucid's standard set: shift, scale by a tenth, rotate by 10 degrees, shift.

    The image is padded by the 6 pixels that the two jitters crop (Lucid pads by 12), so that the
    network sees as many pixels as the image has. All movements are multiplied by `strength`.
    """
    degrees = [*range(-10, 11), 0, 0, 0, 0, 0]
    return [
        pad(6 * strength),
        jitter(8 * strength),
        random_scale([1 + strength * (i - 5) / 50 for i in range(11)]),
        random_rotate([strength * degree for degree in degrees]),
        jitter(4 * strength),
    ]


def heavy() -> list[Transform]:
    """Return twice the movements of `standard`, for features that survive strong movements."""
    return standard(strength=2)


def draw(transform: Transform, seeds: Sequence[int], step: int) -> np.ndarray:
    """Draw the numbers of a step, ``(N, numbers)``, each image's from its own seed alone."""
    generators = [np.random.default_rng([seed, step]) for seed in seeds]
    return np.stack([g.random(transform.numbers, dtype=np.float32) for g in generators])


def apply(images: tf.Tensor, transform: Transform, uniform: tf.Tensor) -> tf.Tensor:
    """Move images, ``(N, H, W, 3)``, by numbers from `draw`; the outside is grey."""
    size = tuple(images.shape[1:3])
    target = transform.resize(size)
    if min(target) < 1:
        raise ValueError(
            f"the transforms crop an image of {size[0]} x {size[1]} pixels to {target[0]} x "
            f"{target[1]}: pad first, or jitter less."
        )
    matrix = transform.matrix(uniform)
    y, x = ((side - 1) / 2 for side in size)
    y_out, x_out = ((side - 1) / 2 for side in target)
    # From coordinates about the centre to those about the corner, which the operation takes.
    shift_x = matrix[:, 0, 2] + x - matrix[:, 0, 0] * x_out - matrix[:, 0, 1] * y_out
    shift_y = matrix[:, 1, 2] + y - matrix[:, 1, 0] * x_out - matrix[:, 1, 1] * y_out
    zero = tf.zeros_like(shift_x)
    rows = [matrix[:, 0, 0], matrix[:, 0, 1], shift_x, matrix[:, 1, 0], matrix[:, 1, 1], shift_y]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([*rows, zero, zero], axis=-1),
        output_shape=target,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.5,
    )
    return _scale_gradient(moved, 1 / tf.linalg.det(matrix[:, :2, :2]))


@tf.custom_gradient
def _scale_gradient(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Multiply the gradient of each image.

    TensorFlow moves the gradient back by the inverse map, which for a map that shrinks areas by
    some factor is too large by that factor.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return upstream * factors[:, None, None, None], tf.zeros_like(factors)

    return images, gradient


def _random_choice(
    name: str, options: Sequence[float], matrix: Callable[[tf.Tensor], tf.Tensor]
) -> Transform:
    if len(options) == 0:
        raise ValueError(f"{name} has nothing to choose from; expected at least one number.")

    def matrix_of_choice(uniform: tf.Tensor) -> tf.Tensor:
        index = tf.cast(tf.floor(uniform[:, 0] * len(options)), tf.int32)
        return matrix(tf.gather(tf.constant(options, tf.float32), index))

    return Transform(lambda size: size, 1, matrix_of_choice)


def _matrix(*rows: list[tf.Tensor]) -> tf.Tensor:
    zero = tf.zeros_like(rows[0][0])
    rows = [*rows, [zero, zero, zero + 1]]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=1)


def _check_pixels(name: str, pixels: int) -> None:
    if pixels != int(pixels) or pixels < 0:
        raise ValueError(f"{name} by {pixels} pixels; expected a whole number from 0.")
