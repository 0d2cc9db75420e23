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
    """Trainable images, ``(N, H, W, 3)`` float32 in [0, 1]."""

    variables: list[tf.Variable]  # the first axis counts the images, or is 1 for a shared part
    render: Callable[[list[tf.Tensor]], tf.Tensor]  # from the variables' values to the images
    size: tuple[int, int]  # height and width in pixels

    @property
    def batch(self) -> int:
        """Number of images."""
        return self.variables[0].shape[0]

    @property
    def shared(self) -> bool:
        """Whether the images have a part in common, which couples them."""
        return len(self.variables) > 1

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
    init: np.ndarray | None = None,
    shared: bool = False,
    seed: int = 0,
) -> Image:
    """Start images from noise or from pictures.

    Parameters
    ----------
    width, height : int
        Size in pixels; square by default.
    batch : int
        Number of images.
    sd, decay : float
        Deviation of the noise, and power of the frequency that divides Fourier coefficients.
    fft, decorrelate : bool
        Whether to optimise Fourier coefficients, not pixels, and to correlate colours as ImageNet.
    init : array, (H, W, 3) or (batch, H, W, 3), uint8 or float in [0, 1], optional
        Pictures to start from instead of noise, such as those of `perlin`.
    shared : bool
        Whether to add a part common to all images, which aligns them (Lucid's ``lowres_tensor``).
    seed : int
        Seed of the first image; the image at index i has ``seed + i``.

    Returns
    -------
    Image
    """
    height = height or width
    if min(width, height, batch) < 1:
        raise ValueError(f"width={width}, height={height}, batch={batch}; expected at least 1.")
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    scale = np.sqrt(width * height) / np.maximum(frequency, 1 / max(height, width)) ** decay
    scale = scale.astype(np.float32)
    shape = (2, 3, *scale.shape) if fft else (3, height, width)
    if init is None:
        generators = [np.random.default_rng(seed + i) for i in range(batch)]
        start = np.float32([generator.normal(0, sd, shape) for generator in generators])
    else:
        start = _from_rgb(_check_init(init, (batch, height, width, 3)), decorrelate=decorrelate)
        if fft:
            spectrum = np.fft.rfft2(4 * start) / scale
            start = np.stack([spectrum.real, spectrum.imag], axis=1).astype(np.float32)
    variables = [tf.Variable(start, name="image")]
    if shared:
        variables.append(tf.Variable(np.zeros_like(start[:1]), name="shared"))

    def render(variables: list[tf.Tensor]) -> tf.Tensor:
        planes = tf.convert_to_tensor(variables[0])
        if shared:
            planes += variables[1]
        if fft:
            spectrum = tf.complex(planes[:, 0] * scale, planes[:, 1] * scale)
            planes = tf.signal.irfft2d(spectrum, fft_length=[height, width]) / 4
        if decorrelate:
            flat = tf.reshape(planes, (-1, 3, height * width))
            planes = tf.reshape(tf.linalg.matmul(COLOR_MATRIX, flat), tf.shape(planes))
        return tf.transpose(tf.sigmoid(planes), (0, 2, 3, 1))

    return Image(variables, render, (height, width))


def perlin(
    width: int,
    height: int | None = None,
    batch: int = 1,
    *,
    cell: int = 32,
    octaves: int = 4,
    contrast: float = 0.25,
    seed: int = 0,
) -> np.ndarray:
    """Draw Perlin noise (SIGGRAPH 2002) in each colour, ``(batch, height, width, 3)`` in [0, 1].

    Octaves have half the `cell`, pixels between random gradients, and half the amplitude each;
    `contrast` is the deviation from 0.5. Picture i is drawn from seed ``seed + i``.
    """
    if cell < (smallest := 2 ** (octaves - 1)):
        raise ValueError(f"cell is {cell} for {octaves} octaves; expected at least {smallest}.")
    pictures = []
    for number in range(seed, seed + batch):
        draws, size = np.random.default_rng(number), (height or width, width)
        scales = 2 ** np.arange(octaves)
        planes = sum(_gradient_noise(*size, cell / scale, draws) / scale for scale in scales)
        pictures.append(0.5 + contrast * planes / planes.std())
    return np.clip(np.float32(pictures), 0, 1)


def _check_init(init: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    init = np.asarray(init)
    if init.shape not in (shape, shape[1:]):
        raise ValueError(f"init has the shape {init.shape}; expected {shape[1:]} or {shape}.")
    values = init / np.float32(255) if init.dtype == np.uint8 else init.astype(np.float32)
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"init has values from {values.min():g} to {values.max():g}; expected uint8, or "
            "floats in [0, 1]."
        )
    return np.broadcast_to(values, shape)


def _from_rgb(pictures: np.ndarray, *, decorrelate: bool) -> np.ndarray:
    """Invert sigmoid and colour correlation: RGB to planes, ``(N, 3, H, W)``."""
    inside = np.clip(pictures, 1 / 512, 511 / 512)  # black and white lie at infinity
    pixels = np.log(inside / (1 - inside))
    if decorrelate:
        pixels = pixels @ np.linalg.inv(COLOR_MATRIX).T
    return np.moveaxis(pixels, -1, 1).astype(np.float32)


def _gradient_noise(
    height: int, width: int, cell: float, generator: np.random.Generator
) -> np.ndarray:
    """Interpolate the planes that random gradients on a grid of cells span, ``(H, W, 3)``."""
    y, x = np.arange(height)[:, None, None] / cell, np.arange(width)[:, None] / cell
    row, column = y.astype(int), x.astype(int)
    angles = generator.uniform(0, 2 * np.pi, (row.max() + 2, column.max() + 2, 3))
    fade_y, fade_x = (t**3 * (t * (6 * t - 15) + 10) for t in (y - row, x - column))

    def corner(down: int, right: int) -> np.ndarray:
        angle = angles[row[..., 0] + down, column[:, 0] + right]
        return (y - row - down) * np.sin(angle) + (x - column - right) * np.cos(angle)

    top, bottom = ((1 - fade_x) * corner(down, 0) + fade_x * corner(down, 1) for down in (0, 1))
    return (1 - fade_y) * top + fade_y * bottom
