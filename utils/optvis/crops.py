"""Many random crops of a large canvas per step, with noise, so that a network sees all scales.

As by Fel et al. (NeurIPS 2023), whose image is a canvas that is larger than the network's input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

SPREAD = 0.05  # deviation of a crop's side, as a share of the canvas
CENTRES = 0.5, 0.15  # mean and deviation of a crop's centre, as a share of the canvas
SMALLEST = 0.05  # side of a crop, as a share of the canvas


@dataclass(frozen=True)
class Crops:
    """Square crops of each image, resized to what the network sees, with noise added."""

    count: int = 8  # per image and step
    size: int = 128  # of what the network sees, in pixels
    sides: tuple[float, float] = (0.5, SMALLEST)  # of a crop, at the first and at the last step
    noise: float = 0.08  # deviation, in units of the half of the range of values

    def __post_init__(self):
        if self.count < 1 or not all(0 < side <= 1 for side in self.sides) or self.noise < 0:
            raise ValueError(f"{self}; expected at least one crop, sides from 0 to 1, and no less.")

    def resize(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size of what the network sees of a canvas; ValueError if it is larger than the canvas."""
        if min(size) < self.size:
            raise ValueError(
                f"the canvas has {size} pixels, and crops are resized to {self.size}: a canvas is "
                "at least as large as what the network sees."
            )
        return self.size, self.size

    def draw(self, seeds: Sequence[int], step: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw boxes, ``(N, count, 4)``, shares of the canvas, and seeds of noise, ``(N, 2)``.

        Boxes are top, left, bottom and right. Each image's are from its own seed alone.
        """
        first, last = self.sides
        mean = first + (last - first) * (step - 1) / max(1, steps - 1)
        boxes = []
        for seed in seeds:
            generator = np.random.default_rng([seed, step])
            centre = generator.normal(*CENTRES, (self.count, 2))
            side = np.clip(generator.normal(mean, SPREAD, (self.count, 1)), SMALLEST, 1)
            boxes.append(np.concatenate([centre - side / 2, centre + side / 2], axis=1))
        return np.float32(boxes), np.int32([(seed, step) for seed in seeds])

    def apply(self, images: tf.Tensor, boxes: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Crop images, ``(N, H, W, 3)`` in [0, 1], to ``(N * count, size, size, 3)``.

        Beyond the canvas is grey.
        """
        count = boxes.shape[0]
        which = tf.repeat(tf.range(count), self.count)
        centred = 2 * images - 1
        size = (self.size, self.size)
        crops = tf.image.crop_and_resize(centred, tf.reshape(boxes, (-1, 4)), which, size)
        if self.noise:
            shape = (self.count, *size, 3)

            def noise(seed: tf.Tensor) -> tf.Tensor:
                normal = tf.random.stateless_normal(shape, seed)
                return normal + tf.random.stateless_uniform(shape, seed + 1, -0.5, 0.5)

            drawn = tf.map_fn(noise, seeds, fn_output_signature=tf.float32)
            crops += self.noise * tf.reshape(drawn, tf.shape(crops))
        return (crops + 1) / 2
