"""What images of channels achieve, and how complex they are."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd

from utils.statistics import mean_interval

MEASURES = {"bytes_per_pixel": "PNG size, bytes per pixel", "spectral_slope": "spectral slope"}


def compressed_bytes(images: np.ndarray) -> np.ndarray:
    """Size of each image as PNG, ``(N,)``, bytes per pixel; more structure compresses less.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
    """
    smallest = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    pixels = images.shape[1] * images.shape[2]
    return np.array([cv2.imencode(".png", image, smallest)[1].size / pixels for image in images])


def spectral_slope(images: np.ndarray) -> np.ndarray:
    """Slope of log power over log frequency, ``(N,)``: 0 for white noise, lower for smoother.

    The power of the luminance under a Hann window, averaged over directions in rings one
    frequency wide, fitted from 3 cycles per image to half of the highest frequency; photographs
    have about -2 (Field 1987). An image without contrast has no slope and gives NaN.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
        Square.
    """
    size = images.shape[1]
    if images.shape[1] != images.shape[2] or size < 16:
        raise ValueError(f"images have the shape {images.shape}; expected square ones, 16 or more.")
    luminance = images @ np.array([0.299, 0.587, 0.114])
    luminance -= luminance.mean(axis=(1, 2), keepdims=True)
    window = np.hanning(size)
    power = np.abs(np.fft.fft2(luminance * np.outer(window, window))) ** 2
    cycles = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size, 1 / size)] * 2)).round().astype(int)
    rings = np.arange(3, size // 4 + 1)
    slopes = []
    for image in power:
        total = np.bincount(cycles.ravel(), image.ravel())[rings]
        mean = total / np.bincount(cycles.ravel())[rings]
        flat = mean.max() < 1e-6 * size**2
        slopes.append(np.nan if flat else np.polyfit(np.log(rings), np.log(mean), 1)[0])
    return np.array(slopes)


def channel_table(
    images: Mapping[str, np.ndarray],
    channels: Mapping[str, Sequence[int]],
    features: Mapping[str, np.ndarray],
    responses: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    """Compare what a network's rendered images achieve with what real patches do.

    Parameters
    ----------
    images : mapping of str to array, (n, H, W, 3), uint8
        Rendered images, by layer.
    channels : mapping of str to sequence of int
        The n channels rendered, by layer, in the same order.
    features : mapping of str to array, (total, C)
        Mean activation of every channel on the images of all layers, one after the other.
    responses : mapping of str to array, (N, C)
        Mean activation of every channel on N real patches.

    Returns
    -------
    DataFrame
        One row per channel: ``layer``, ``channel``, ``image`` (mean activation on its image),
        ``patches_mean``, ``patches_max`` (the same on the patches), and the `MEASURES`.
    """
    rows, start = [], 0
    for layer, numbers in channels.items():
        sizes, slopes = compressed_bytes(images[layer]), spectral_slope(images[layer])
        for index, number in enumerate(numbers):
            real = responses[layer][:, number]
            achieved = features[layer][start + index, number]
            numbers_of_image = (achieved, real.mean(), real.max(), sizes[index], slopes[index])
            rows.append((layer, number, *numbers_of_image))
        start += len(numbers)
    columns = ["layer", "channel", "image", "patches_mean", "patches_max", *MEASURES]
    return pd.DataFrame(rows, columns=columns)


def complexity_by_layer(
    table: pd.DataFrame, *, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Mean complexity of the images by layer, with intervals over channels.

    Parameters
    ----------
    table : DataFrame
        `channel_table` of several networks, with a column ``network``; each has the same channels.
    resamples : int
        Resamples of the channels.
    seed : int
        Seed of the resampling.

    Returns
    -------
    DataFrame
        One row per layer, measure and network, and one per pair ``"finetuned - pretrained"`` of
        networks, channel by channel: ``mean``, ``low`` and ``high`` (95 %, percentile bootstrap
        over channels), ``n`` channels.
    """
    networks = list(dict.fromkeys(table["network"]))
    pairs = [(b, a) for i, a in enumerate(networks) for b in networks[i + 1 :]]
    rows = []
    for layer, part in table.groupby("layer", sort=False):
        for measure in MEASURES:
            wide = part.pivot(index="channel", columns="network", values=measure).dropna()
            series = {name: wide[name] for name in networks}
            series |= {f"{b} - {a}": wide[b] - wide[a] for b, a in pairs}
            for name, values in series.items():
                channels = np.arange(len(values))
                low, high = mean_interval(
                    values.to_numpy(), channels, resamples=resamples, seed=seed
                )
                rows.append((layer, measure, name, values.mean(), low, high, len(values)))
    return pd.DataFrame(rows, columns=["layer", "measure", "network", "mean", "low", "high", "n"])
