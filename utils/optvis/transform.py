"""Small random movements of the image, which keep optimisation from finding adversarial noise.

Each is an affine map drawn for each image; a chain of them is one map, hence one interpolation.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

Size = tuple[int, int]  # height and width, in pixels
Generators = Sequence[np.random.Generator]  # one for each image


@dataclass(frozen=True)
class Transform:
    """A random affine map."""

    resize: Callable[[Size], Size] = lambda size: size  # from the size of the input to the output's
    # Draws the matrices, (N, 3, 3) or for all images (1, 3, 3), from x and y about the centre of
    # the output to those of the input, each image's from its own generator.
    matrices: Callable[[Generators], np.ndarray] = lambda generators: np.eye(3)[None]
    count = 1  # of what the network sees of each image

    def draw(self, seeds: Sequence[int], step: int, steps: int = 1) -> tuple[np.ndarray]:
        """Draw the matrices of a step, ``(N, 3, 3)``, each image's from its own seed alone."""
        generators = [np.random.default_rng([seed, step]) for seed in seeds]
        matrices = np.float32(self.matrices(generators))
        return (np.broadcast_to(matrices, (len(seeds), 3, 3)),)

    def apply(self, images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
        """Move images, ``(N, H, W, 3)``, by matrices from `draw`; the outside is grey."""
        size = tuple(images.shape[1:3])
        target = self.resize(size)
        linear, shift = matrices[:, :2, :2], matrices[:, :2, 2]
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


def pad(pixels: int) -> Transform:
    """Add grey on all four sides (Lucid's ``pad`` with a constant)."""
    return Transform(lambda size: (size[0] + 2 * pixels, size[1] + 2 * pixels))


def jitter(pixels: int) -> Transform:
    """Crop to `pixels` less in height and width, at a random place (Lucid's ``jitter``)."""

    def matrices(generators: Generators) -> np.ndarray:
        shift = np.floor(_uniform(generators, 2) * (pixels + 1)) - pixels / 2
        return np.eye(3) + np.pad(shift[:, :, None], [(0, 0), (0, 1), (2, 0)])

    return Transform(lambda size: (size[0] - pixels, size[1] - pixels), matrices)


def random_scale(factors: Sequence[float]) -> Transform:
    """Scale by one of `factors` (Lucid's ``random_scale``, on a canvas of constant size)."""

    def matrices(generators: Generators) -> np.ndarray:
        inverse = tf.math.reciprocal(_choose(np.float32(factors), generators)).numpy()
        return inverse[:, None, None] * np.diag([1, 1, 0]) + np.diag([0, 0, 1])

    return Transform(matrices=matrices)


def random_rotate(degrees: Sequence[float]) -> Transform:
    """Rotate about the centre by one of `degrees` (Lucid's ``random_rotate``)."""
    angles = np.float32(degrees) * np.float32(np.pi / 180)
    pairs = zip(np.cos(angles), np.sin(angles), strict=True)
    rotations = np.array([[[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]] for cos, sin in pairs])
    return Transform(matrices=lambda generators: _choose(rotations, generators))


def crop_or_pad(height: int, width: int) -> Transform:
    """Cut, or fill up with grey, to this size about the centre (Lucid's ``crop_or_pad_to``)."""
    return Transform(lambda size: (height, width))


def compose(transforms: Sequence[Transform]) -> Transform:
    """Chain transforms, the first one first."""

    def matrices(generators: Generators) -> np.ndarray:
        stacks = (np.float32(transform.matrices(generators)) for transform in transforms)
        product = functools.partial(np.einsum, "nij,njk->nik")
        return functools.reduce(product, stacks, np.eye(3, dtype=np.float32)[None])

    def resize(size: Size) -> Size:
        return functools.reduce(lambda size, transform: transform.resize(size), transforms, size)

    return Transform(resize, matrices)


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


@tf.custom_gradient
def _scale_gradient(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Undo that TensorFlow's gradient of a map is too large by what the map shrinks areas."""
    return images, lambda upstream: (upstream * factors[:, None, None, None], None)


def _choose(options: np.ndarray, generators: Generators) -> np.ndarray:
    return options[np.int64(_uniform(generators, 1)[:, 0] * len(options))]


def _uniform(generators: Generators, count: int) -> np.ndarray:
    return np.stack([generator.random(count, dtype=np.float32) for generator in generators])
