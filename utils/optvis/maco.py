"""Images whose spectrum is given, so that only their phase is optimised: MACO.

After Fel et al., "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained
Optimization", NeurIPS 2023 (arXiv 2306.06805). The spectrum is the prior, and it can be measured.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow as tf

from utils import assets
from utils.optvis.param import COLOR_MATRIX, Image, decorrelated_logits
from utils.progress import progress_bar

EPSILON = 1e-5  # added to deviations, as by Fel et al.


def imagenet_spectrum() -> np.ndarray:
    """Read the mean magnitude of ImageNet's images, ``(3, 512, 257)`` float32, by Fel et al."""
    return np.load(assets.path("imagenet_spectrum", "spectrum_decorrelated.npy"))


def measure_spectrum(images: np.ndarray, *, chunk: int = 256) -> np.ndarray:
    """Average the magnitude of patches' spectra, of the log-odds of decorrelated colours.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8, which may be on disk
    chunk : int
        Number of patches in memory at once.

    Returns
    -------
    array, (3, H, W // 2 + 1), float32
        Mean magnitude of the real Fourier transform of each colour plane.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"images are {images.dtype} of shape {images.shape}; expected (N, H, W, 3) of uint8."
        )

    def chunks() -> Iterator[np.ndarray]:
        starts = range(0, len(images), chunk)
        for start in progress_bar(starts, desc="spectrum", unit="chunk"):
            planes = decorrelated_logits(images[start : start + chunk])
            yield np.abs(np.fft.rfft2(planes)).sum(axis=0)

    return np.float32(sum(chunks()) / len(images))


def phase_image(size: int, batch: int = 1, *, spectrum: np.ndarray, seed: int = 0) -> Image:
    """Start images of a given spectrum from random phases.

    The scale of the spectrum does not matter: colours are standardised over each image, before they
    are correlated and squashed into [0, 1].

    Parameters
    ----------
    size, batch : int
        Side in pixels, and number of images.
    spectrum : array, (3, h, w // 2 + 1), float
        Magnitudes, positive, of decorrelated colours, such as from `imagenet_spectrum` or
        `measure_spectrum`; interpolated to the size.
    seed : int
        Seed of the first image; the image at index i has ``seed + i``.

    Returns
    -------
    Image
    """
    magnitude = resize_spectrum(spectrum, size)
    generators = [np.random.default_rng(seed + i) for i in range(batch)]
    start = np.stack([generator.normal(size=magnitude.shape) for generator in generators])

    def render(variables: list[tf.Tensor]) -> tf.Tensor:
        phase = _standardise(tf.convert_to_tensor(variables[0]))
        waves = tf.complex(magnitude * tf.cos(phase), magnitude * tf.sin(phase))
        planes = _standardise(tf.signal.irfft2d(waves, fft_length=[size, size]))
        flat = tf.reshape(planes, (-1, 3, size * size))
        colors = tf.reshape(tf.linalg.matmul(COLOR_MATRIX, flat), tf.shape(planes))
        return tf.transpose(tf.sigmoid(colors), (0, 2, 3, 1))

    variable = tf.Variable(np.float32(start), name="phase")
    return Image([variable], render, (size, size), batch)


def resize_spectrum(spectrum: np.ndarray, size: int) -> np.ndarray:
    """Interpolate magnitudes, ``(3, h, w // 2 + 1)``, to ``(3, size, size // 2 + 1)``."""
    spectrum = np.asarray(spectrum, np.float32)
    if spectrum.ndim != 3 or len(spectrum) != 3 or spectrum.shape[2] != spectrum.shape[1] // 2 + 1:
        raise ValueError(
            f"spectrum has the shape {spectrum.shape}; expected (3, h, h // 2 + 1), magnitudes of "
            "three decorrelated colours, as from imagenet_spectrum or measure_spectrum."
        )
    if not (np.isfinite(spectrum).all() and (spectrum >= 0).all() and spectrum.any()):
        raise ValueError("spectrum has values that are negative or no numbers, or only zeros.")
    target = (size // 2 + 1, size)
    return np.stack([cv2.resize(p, target, interpolation=cv2.INTER_LINEAR) for p in spectrum])


def _standardise(planes: tf.Tensor) -> tf.Tensor:
    """Subtract each image's mean, and divide by its deviation."""
    axes = (1, 2, 3)
    mean = tf.reduce_mean(planes, axes, keepdims=True)
    return (planes - mean) / (tf.math.reduce_std(planes, axes, keepdims=True) + EPSILON)
