"""What channel images achieve, and how complex they are."""

import itertools
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd

from utils.networks import Model, layer_features
from utils.once import Once, directly
from utils.optvis.belief import believe
from utils.patches import to_uint8
from utils.statistics import mean_interval

MEASURES = {"bytes_per_pixel": "PNG size, bytes per pixel", "spectral_slope": "spectral slope"}


def compressed_bytes(images: np.ndarray) -> np.ndarray:
    """Size of uint8 images as PNG, ``(N,)``, bytes per pixel; more structure compresses less."""
    smallest = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    pixels = images.shape[1] * images.shape[2]
    return np.array([cv2.imencode(".png", image, smallest)[1].size / pixels for image in images])


def spectral_slope(images: np.ndarray) -> np.ndarray:
    """Slope of log power over log frequency of square uint8 images, ``(N,)``: 0 for white noise.

    Luminance under a Hann window, averaged in rings from 3 cycles per image to half of the highest
    frequency; photographs have about -2 (Field 1987), images without contrast NaN.
    """
    size = images.shape[1]
    luminance = images @ np.array([0.299, 0.587, 0.114])
    luminance -= luminance.mean(axis=(1, 2), keepdims=True)
    window = np.hanning(size)
    power = np.abs(np.fft.fft2(luminance * np.outer(window, window))) ** 2
    cycles = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size, 1 / size)] * 2)).round().astype(int)
    rings = np.arange(3, size // 4 + 1)
    totals = [np.bincount(cycles.ravel(), image.ravel())[rings] for image in power]
    means = totals / np.bincount(cycles.ravel())[rings]
    flat = means.max(axis=1) < 1e-6 * size**2
    slopes = np.polyfit(np.log(rings), np.log(np.maximum(means, 1e-300)).T, 1)[0]
    return np.where(flat, np.nan, slopes)


def achieved(
    networks: Mapping[str, Model],
    images: Mapping[str, Mapping[str, np.ndarray]],
    channels: Mapping[str, Sequence[int]],
    responses: Mapping[str, Mapping[str, np.ndarray]],
    *,
    groups: np.ndarray | None = None,
    once: Once = directly,
) -> pd.DataFrame:
    """Compare the activations of channels on their images and on real patches.

    Parameters
    ----------
    networks : mapping of str to Model
        Networks by name; one may have several names, such as those of toolboxes to compare.
    images : mapping of str to mapping of str to array, (n, H, W, 3), uint8 or float in [0, 1]
        Channel images by name and layer.
    channels : mapping of str to sequence of int
        Channel numbers by layer, from input to output: the first n of a layer's are rendered.
    responses : mapping of str to mapping of str to array, (N, C)
        Mean activation of every channel on N real patches, by name and layer.
    groups : array, (N,), optional
        Groups of the patches, for the columns of `belief.believe`.
    once : callable
        Function that calls another with its arguments and keeps the result, such as ``Run.once``.

    Returns
    -------
    DataFrame
        One row per name and channel: ``network``, ``layer``, ``channel``, mean activation on its
        ``image`` and on the patches (``patches_mean``, ``patches_max``), and the `MEASURES`.
    """
    tables = {}
    for name, model in networks.items():
        pixels = np.concatenate([to_uint8(images[name][layer]) for layer in channels])
        counts = {layer: len(images[name][layer]) for layer in channels}
        pairs = [(layer, n) for layer, count in counts.items() for n in channels[layer][:count]]
        features = once(layer_features, model, pixels, layers=list(channels))
        on_patches = [responses[name][layer][:, number] for layer, number in pairs]
        tables[name] = pd.DataFrame(pairs, columns=["layer", "channel"]).assign(
            image=np.array([features[layer][i, n] for i, (layer, n) in enumerate(pairs)]),
            patches_mean=[response.mean() for response in on_patches],
            patches_max=[response.max() for response in on_patches],
            bytes_per_pixel=compressed_bytes(pixels),
            spectral_slope=spectral_slope(pixels),
        )
        if groups is not None:
            believed = believe(features, responses[name], groups, counts)
            tables[name] = pd.concat([tables[name], believed], axis=1)
    return pd.concat(tables, names=["network"]).reset_index("network").reset_index(drop=True)


def average_finetunings(table: pd.DataFrame) -> pd.DataFrame:
    """Average `achieved` over several finetuned networks (``finetuned 2`` and so on) by channel."""
    keys = ["network", "layer", "channel"]
    names = table["network"].str.replace(r"^finetuned \d+$", "finetuned", regex=True)
    return table.assign(network=names).groupby(keys, sort=False).mean().reset_index()


def beaten(table: pd.DataFrame) -> pd.DataFrame:
    """Count, by network, the ``images`` of `achieved` and those ``beating`` every patch."""
    beats_all = table["image"] > table["patches_max"]
    return beats_all.groupby(table["network"], sort=False).agg(beating="sum", images="size")


def achieved_by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Average the activations of `achieved` over channels: one row per layer, to 3 decimals."""
    activations = ["image", "patches_mean", "patches_max"]
    wide = table.pivot_table(activations, "layer", "network", sort=False)
    return wide.swaplevel(axis=1).sort_index(axis=1).round(3)


def complexity_by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """Mean complexity of the images by layer, with 95 % intervals over channels.

    Parameters
    ----------
    table : DataFrame
        Table of `achieved`; networks are compared by the channels that both have.

    Returns
    -------
    DataFrame
        ``mean``, ``low``, ``high`` and number of channels ``n`` by ``layer``, ``measure`` and
        ``network``, among which are paired differences such as ``"finetuned - pretrained"``.
    """
    rows = []
    for layer, channels in table.groupby("layer", sort=False):
        for measure in MEASURES:
            wide = channels.pivot(index="channel", columns="network", values=measure)
            series = {name: wide[name] for name in table["network"].unique()}
            pairs = itertools.combinations([*series], 2)
            series |= {f"{b} - {a}": wide[b] - wide[a] for a, b in pairs}
            for name, values in series.items():
                values = values.dropna()
                interval = mean_interval(values.to_numpy())
                rows.append((layer, measure, name, values.mean(), *interval, len(values)))
    return pd.DataFrame(rows, columns=["layer", "measure", "network", "mean", "low", "high", "n"])
