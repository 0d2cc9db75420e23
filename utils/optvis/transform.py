"""Small random movements of the image, which keep optimisation from finding adversarial noise.

Transforms are affine maps from output to input coordinates, drawn for each image separately. A
chain of them is one map, applied in one interpolation.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

Size = tuple[int, int]  # height and width, in pixels


@dataclass(frozen=True)
class Transform:
    """A random affine map from x and y about the centre of the output to those of the input."""

    resize: Callable[[Size], Size]  # from the size of the input to that of the output
    numbers: int = 0  # random numbers per image
    # From uniform numbers in [0, 1), (N, numbers), to matrices, (N, 3, 3).
    matrix: Callable[[tf.Tensor], tf.Tensor] = lambda uniform: tf.eye(
        3, batch_shape=uniform.shape[:1]
    )


def pad(pixels: int) -> Transform:
    """Add grey on all four sides (Lucid's ``pad`` with a constant)."""
    _check_pixels("pad", pixels)
    return Transform(lambda size: (size[0] + 2 * pixels, size[1] + 2 * pixels))


def jitter(pixels: int) -> Transform:
    """Crop to `pixels` less in height and width, at a random place (Lucid's ``jitter``)."""
    _check_pixels("jitter", pixels)

    def matrix(uniform: tf.Tensor) -> tf.Tensor:
        x, y = tf.unstack(tf.floor(uniform * (pixels + 1)) - pixels / 2, axis=1)
        return _matrix([1, 0, x], [0, 1, y], like=x)

    return Transform(lambda size: (size[0] - pixels, size[1] - pixels), 2, matrix)


def random_scale(factors: Sequence[float]) -> Transform:
    """Scale by one of `factors` (Lucid's ``random_scale``, on a canvas of constant size)."""

    def matrix(factor: tf.Tensor) -> tf.Tensor:
        return _matrix([1 / factor, 0, 0], [0, 1 / factor, 0], like=factor)

    return _random_choice("random_scale", factors, matrix)


def random_rotate(degrees: Sequence[float]) -> Transform:
    """Rotate about the centre by one of `degrees` (Lucid's ``random_rotate``)."""

    def matrix(angle: tf.Tensor) -> tf.Tensor:
        angle *= np.float32(np.pi / 180)
        cos, sin = tf.cos(angle), tf.sin(angle)
        return _matrix([cos, -sin, 0], [sin, cos, 0], like=angle)

    return _random_choice("random_rotate", degrees, matrix)


def crop_or_pad(height: int, width: int) -> Transform:
    """Cut, or fill up with grey, to this size about the centre (Lucid's ``crop_or_pad_to``)."""
    _check_pixels("crop_or_pad", min(height, width))
    return Transform(lambda size: (height, width))


def compose(transforms: Sequence[Transform]) -> Transform:
    """Chain transforms, the first one first."""
    transforms = [Transform(lambda size: size), *transforms]
    numbers = [transform.numbers for transform in transforms]

    def matrix(uniform: tf.Tensor) -> tf.Tensor:
        uniforms = tf.split(uniform, numbers, axis=1)
        matrices = (t.matrix(u) for t, u in zip(transforms, uniforms, strict=True))
        return functools.reduce(tf.matmul, matrices)

    def resize(size: Size) -> Size:
        return functools.reduce(lambda size, transform: transform.resize(size), transforms, size)

    return Transform(resize, sum(numbers), matrix)


def light() -> list[Transform]:
    """Return shifts by up to 2 pixels, to keep as much detail as possible."""
    return [pad(2), jitter(4)]


def standard(strength: int = 1) -> list[Transform]:
    """Return Lucid's standard set: shift, scale by a tenth, rotate by 10 degrees, shift.

    All movements are multiplied by `strength`. The padding is what the two jitters crop (Lucid's is
    twice as wide), so that the network sees as many pixels as the image has.
    """
    scales = [1 + strength * (i - 5) / 50 for i in range(11)]
    degrees = [strength * degree for degree in (*range(-10, 11), 0, 0, 0, 0, 0)]
    moves = [jitter(8 * strength), random_scale(scales), random_rotate(degrees)]
    return [pad(6 * strength), *moves, jitter(4 * strength)]


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
    linear, shift = matrix[:, :2, :2], matrix[:, :2, 2]
    # From coordinates about the centre to those about the corner, which the operation takes.
    (y, x), (y_out, x_out) = ([(side - 1) / 2 for side in sides] for sides in (size, target))
    shift = shift + [x, y] - linear[..., 0] * x_out - linear[..., 1] * y_out
    rows = tf.reshape(tf.concat([linear, shift[..., None]], axis=2), (-1, 6))
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.pad(rows, [(0, 0), (0, 2)]),
        output_shape=target,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.5,
    )
    return _scale_gradient(moved, 1 / tf.linalg.det(linear))


@tf.custom_gradient
def _scale_gradient(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Undo that TensorFlow's gradient of a map is too large by what the map shrinks areas."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return upstream * factors[:, None, None, None], tf.zeros_like(factors)

    return images, gradient


def _random_choice(name: str, options: Sequence[float], matrix: Callable) -> Transform:
    if len(options) == 0:
        raise ValueError(f"{name} has nothing to choose from; expected at least one number.")

    def matrix_of_choice(uniform: tf.Tensor) -> tf.Tensor:
        index = tf.cast(tf.floor(uniform[:, 0] * len(options)), tf.int32)
        return matrix(tf.gather(tf.constant(options, tf.float32), index))

    return Transform(lambda size: size, 1, matrix_of_choice)


def _matrix(*rows: list[tf.Tensor | float], like: tf.Tensor) -> tf.Tensor:
    """Matrices, ``(N, 3, 3)``, from their first two rows of numbers or of tensors, ``(N,)``."""
    entries = [tf.broadcast_to(tf.cast(x, tf.float32), tf.shape(like)) for x in sum(rows, [])]
    zero = tf.zeros_like(like)
    return tf.reshape(tf.stack([*entries, zero, zero, zero + 1], axis=-1), (-1, 3, 3))


def _check_pixels(name: str, pixels: int) -> None:
    if pixels != int(pixels) or pixels < 0:
        raise ValueError(f"{name} by {pixels} pixels; expected a whole number from 0.")
