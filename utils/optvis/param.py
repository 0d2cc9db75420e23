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

    variables: list[tf.Variable]  # with one row per image, or one row that they share
    render: Callable[[list[tf.Tensor]], tf.Tensor]  # from the variables' values to the images
    size: tuple[int, int]  # height and width in pixels
    batch: int  # number of images

    @property
    def shared(self) -> bool:
        """Whether the images have a part in common, which couples them."""
        return self.batch > 1 and any(v.shape[0] == 1 for v in self.variables)

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
    width, height, batch : int
        Size in pixels, square by default, and number of images.
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
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    divisor = np.maximum(frequency, 1 / max(height, width)) ** decay
    scale = np.float32(np.sqrt(width * height) / divisor)
    if init is None:
        shape = (2, 3, *scale.shape) if fft else (3, height, width)
        generators = [np.random.default_rng(seed + i) for i in range(batch)]
        start = np.stack([generator.normal(0, sd, shape) for generator in generators])
    else:
        start = decorrelated_logits(init, (batch, height, width, 3), decorrelate=decorrelate)
        if fft:
            spectrum = np.fft.rfft2(4 * start) / scale
            start = np.stack([spectrum.real, spectrum.imag], axis=1)
    variables = [tf.Variable(np.float32(start), name="image")]
    if shared:
        variables.append(tf.Variable(np.zeros_like(start[:1], np.float32), name="shared"))

    def render(variables: list[tf.Tensor]) -> tf.Tensor:
        planes = sum(variables[1:], start=tf.convert_to_tensor(variables[0]))
        if fft:
            spectrum = tf.complex(planes[:, 0] * scale, planes[:, 1] * scale)
            planes = tf.signal.irfft2d(spectrum, fft_length=[height, width]) / 4
        if decorrelate:
            flat = tf.reshape(planes, (-1, 3, height * width))
            planes = tf.reshape(tf.linalg.matmul(COLOR_MATRIX, flat), tf.shape(planes))
        return tf.transpose(tf.sigmoid(planes), (0, 2, 3, 1))

    return Image(variables, render, (height, width), batch)


def cppn(size: int, batch: int = 1, *, width: int = 24, depth: int = 8, seed: int = 0) -> Image:
    """Draw images by small networks that map each pixel's place to its colour.

    Compositional pattern producing networks, as in Mordvintsev et al., "Differentiable Image
    Parameterizations", Distill 2018: arctangents, each taken linearly and squared, so that images
    are smooth at any size.

    Parameters
    ----------
    size, batch : int
        Side in pixels, and number of images.
    width, depth : int
        Units per layer, and number of hidden layers.
    seed : int
        Seed of the first image; the image at index i has ``seed + i``.

    Returns
    -------
    Image
    """
    ends = np.linspace(-np.sqrt(3), np.sqrt(3), size)  # of unit deviation
    places = np.float32(np.stack(np.meshgrid(ends, ends), axis=-1).reshape(-1, 2))
    widths = [2, *[2 * width] * depth]
    generators = [np.random.default_rng(seed + i) for i in range(batch)]
    starts = [
        np.stack([g.normal(0, 1 / np.sqrt(n), (n, width)) for g in generators]) for n in widths[:-1]
    ]
    starts.append(np.zeros((batch, widths[-1], 3)))  # grey at first
    variables = [tf.Variable(np.float32(start), name="weights") for start in starts]

    def render(variables: list[tf.Tensor]) -> tf.Tensor:
        values = tf.tile(places[None], (tf.shape(variables[0])[0], 1, 1))
        for kernel in variables[:-1]:
            values = tf.atan(tf.linalg.matmul(values, kernel))
            values = tf.concat([values / 0.67, tf.square(values) / 0.6], axis=-1)
        colors = tf.linalg.matmul(values, variables[-1])
        return tf.reshape(tf.sigmoid(colors), (-1, size, size, 3))

    return Image(variables, render, (size, size), batch)


def decorrelated_logits(
    pictures: np.ndarray, shape: tuple[int, ...] | None = None, *, decorrelate: bool = True
) -> np.ndarray:
    """Planes, ``(N, 3, H, W)``, from which colours and the sigmoid make these pictures.

    `shape` is what is expected of the pictures, which may lack the first axis; by default theirs.
    """
    pictures = np.asarray(pictures)
    shape = shape or pictures.shape
    values = pictures / np.float32(255 if pictures.dtype == np.uint8 else 1)
    if pictures.shape not in (shape, shape[1:]) or not 0 <= values.min() <= values.max() <= 1:
        raise ValueError(
            f"init has the shape {pictures.shape} and values from {pictures.min():g} to "
            f"{pictures.max():g}; expected {shape[1:]} or {shape}, uint8 or floats in [0, 1]."
        )
    inside = np.clip(np.broadcast_to(values, shape), 1 / 512, 511 / 512)  # 0 and 1 are at infinity
    colors = np.log(inside / (1 - inside))
    colors = colors @ np.linalg.inv(COLOR_MATRIX).T if decorrelate else colors
    return np.moveaxis(colors, -1, 1).astype(np.float32)


def perlin(size: int, batch: int = 1, *, seed: int = 0) -> np.ndarray:
    """Draw Perlin noise (SIGGRAPH 2002) in each colour, ``(batch, size, size, 3)`` in [0, 1].

    Four octaves, each with half the cell (at first 32 pixels between random gradients) and half the
    amplitude of the one before; deviation 0.25 from 0.5. Picture i has the seed ``seed + i``.
    """
    pictures = []
    for number in range(seed, seed + batch):
        generator = np.random.default_rng(number)
        planes = sum(_gradient_noise(size, 32 / scale, generator) / scale for scale in (1, 2, 4, 8))
        pictures.append(0.5 + 0.25 * planes / planes.std())
    return np.clip(np.float32(pictures), 0, 1)


def _gradient_noise(size: int, cell: float, generator: np.random.Generator) -> np.ndarray:
    """Interpolate the planes that random gradients on a grid of cells span, ``(H, W, 3)``."""
    x = np.arange(size)[:, None] / cell
    y, column = x[:, None], x.astype(int)
    row = column[:, None]
    angles = generator.uniform(0, 2 * np.pi, (column.max() + 2, column.max() + 2, 3))
    fade_y, fade_x = (t**3 * (t * (6 * t - 15) + 10) for t in (y - row, x - column))

    def corner(down: int, right: int) -> np.ndarray:
        angle = angles[row[..., 0] + down, column[:, 0] + right]
        return (y - row - down) * np.sin(angle) + (x - column - right) * np.cos(angle)

    top, bottom = ((1 - fade_x) * corner(down, 0) + fade_x * corner(down, 1) for down in (0, 1))
    return (1 - fade_y) * top + fade_y * bottom
