"""How an image is parameterised: pixels or Fourier coefficients, with decorrelated colours.

Formulas after Olah, Mordvintsev and Schubert, "Feature Visualization", Distill 2017.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

# Square root of the covariance of ImageNet's colours, by singular value decomposition.
_COLOR_SQRT = np.float32([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COLOR_MATRIX = _COLOR_SQRT / np.linalg.norm(_COLOR_SQRT, axis=0).max()


@dataclass(frozen=True)
class Image:
    """Trainable images.

    Attributes
    ----------
    variables : list of tf.Variable
        What is optimised; the first axis counts the images.
    render : callable
        Maps the variables' values to images, ``(N, H, W, 3)`` float32 in [0, 1].
    size : tuple of int
        Height and width in pixels.
    """

    variables: list[tf.Variable]
    render: Callable[[list[tf.Tensor]], tf.Tensor]
    size: tuple[int, int]

    def __call__(self) -> tf.Tensor:
        """Return the images as they are now."""
        return self.render(self.variables)


def image(
    width: int,
    height: int | None = None,
    batch: int = 1,
    *,
    sd: float = 0.01,
    fft: bool = True,
    decorrelate: bool = True,
    decay: float = 1.0,
    seed: int = 0,
) -> Image:
    """Start images from noise.

    Parameters
    ----------
    width, height : int
        Pixels; square by default.
    batch : int
        Number of images. The image at index i starts from the noise of seed ``seed + i``.
    sd : float
        Deviation of the noise.
    fft : bool
        Optimise Fourier coefficients, scaled by frequency to the power of ``-decay``; else pixels.
    decorrelate : bool
        Map through the colour correlation of ImageNet, so that steps are alike in all colours.
    seed : int
        Of the first image.
    """
    height = height or width
    if min(width, height, batch) < 1:
        raise ValueError(f"width={width}, height={height}, batch={batch}; expected at least 1.")
    shape = (2, 3, height, width // 2 + 1) if fft else (3, height, width)
    noise = [np.random.default_rng(seed + i).normal(0, sd, shape) for i in range(batch)]
    variable = tf.Variable(np.float32(noise), name="image")
    scale = _fourier_scale(height, width, decay)

    def render(variables: list[tf.Tensor]) -> tf.Tensor:
        planes = tf.convert_to_tensor(variables[0])
        if fft:
            spectrum = tf.complex(planes[:, 0] * scale, planes[:, 1] * scale)
            planes = tf.signal.irfft2d(spectrum, fft_length=[height, width]) / 4
        pixels = tf.transpose(planes, (0, 2, 3, 1))
        return to_rgb(pixels, decorrelate=decorrelate)

    return Image([variable], render, (height, width))


def to_rgb(pixels: tf.Tensor, *, decorrelate: bool = True) -> tf.Tensor:
    """Squash unbounded values ``(..., 3)`` to RGB in [0, 1], by way of ImageNet's colours."""
    if decorrelate:
        pixels = tf.einsum("...c,dc->...d", pixels, COLOR_MATRIX)
    return tf.sigmoid(pixels)


def _fourier_scale(height: int, width: int, decay: float) -> np.ndarray:
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    scale = np.sqrt(width * height) / np.maximum(frequencies, 1 / max(height, width)) ** decay
    return scale.astype(np.float32)
