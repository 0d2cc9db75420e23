"""Which channels to render, what their images achieve, and how complex these are."""

import zlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
from scipy.stats import bootstrap

MEASURES = {"bytes_per_pixel": "PNG size, bytes a pixel", "spectral_slope": "spectral slope"}


def varying_channels(response: np.ndarray) -> np.ndarray:
    """Numbers of the channels whose response, ``(N, C)``, is not the same for all N patches."""
    return np.flatnonzero(np.ptp(response, axis=0) > 1e-5 * np.abs(response).max())


def choose_channels(
    responses: Mapping[str, np.ndarray], count: int, rule: str = "sample", *, seed: int = 0
) -> dict[str, list[int]]:
    """Choose channels of each layer by a rule that has a name, and never by eye.

    Parameters
    ----------
    responses : mapping of str to array, (N, C)
        Mean activation of each channel on some patches, by layer.
    count : int
        Channels a layer.
    rule : str
        ``sample`` (`sample_channels`) or ``highest`` (`highest_channels`).
    seed : int
        Of the sample.
    """
    if rule == "sample":
        return sample_channels(responses, count, seed=seed)
    if rule == "highest":
        return highest_channels(responses, count)
    raise ValueError(f"rule is {rule!r}; expected sample or highest.")


def highest_channels(responses: Mapping[str, np.ndarray], count: int) -> dict[str, list[int]]:
    """Take the channels of each layer with the highest mean response, the highest first."""
    return {
        layer: [int(number) for number in np.argsort(-response.mean(axis=0), kind="stable")[:count]]
        for layer, response in responses.items()
    }


def sample_channels(
    responses: Mapping[str, np.ndarray], count: int, *, seed: int = 0
) -> dict[str, list[int]]:
    """Draw channels of each layer among those whose response varies from patch to patch.

    A channel that is constant on every patch, as those of a branch without weights are, has no
    image that excites it more, and is left out. The draw of a layer does not depend on the others.

    Parameters
    ----------
    responses : mapping of str to array, (N, C)
        Mean activation of each channel on some patches, by layer.
    count : int
        Channels a layer.
    seed : int
        Of the draw.

    Returns
    -------
    dict of str to list of int
        Sorted channel numbers, by layer.
    """
    chosen = {}
    for layer, response in responses.items():
        alive = varying_channels(response)
        if len(alive) < count:
            raise ValueError(
                f"{layer} has {len(alive)} channels that vary over the patches; expected at least "
                f"{count}."
            )
        own_seed = [seed, zlib.crc32(layer.encode())]  # whatever other layers are asked for
        draw = np.random.default_rng(own_seed).permutation(alive)[:count]
        chosen[layer] = sorted(int(number) for number in draw)
    return chosen


def exciting_patches(response: np.ndarray, number: int, count: int = 9) -> np.ndarray:
    """Indices of the patches with the highest mean activation of a channel, the highest first.

    Parameters
    ----------
    response : array, (N, C)
        Mean activation of each channel on N patches.
    number : int
        The channel.
    count : int
        Most indices to return.
    """
    return np.argsort(-response[:, number], kind="stable")[:count]


def compressed_bytes(images: np.ndarray) -> np.ndarray:
    """Size of each image as PNG, ``(N,)``, bytes a pixel; more structure compresses less.

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
    frequency wide, fitted from 3 cycles an image to half of the highest frequency; photographs have
    about -2 (Field 1987). An image without contrast has no slope and gives NaN.

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
        A row a channel: ``layer``, ``channel``, ``image`` (mean activation on its image),
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
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        A row a layer, measure and network, and a row a pair ``"finetuned - pretrained"`` of
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
                low, high = _interval(values.to_numpy(), resamples, seed)
                rows.append((layer, measure, name, values.mean(), low, high, len(values)))
    return pd.DataFrame(rows, columns=["layer", "measure", "network", "mean", "low", "high", "n"])


def judge_c1(complexity: pd.DataFrame) -> str:
    """Say whether finetuning makes the images of deep layers simpler, as claim C1 has it.

    Parameters
    ----------
    complexity : DataFrame
        From `complexity_by_layer`, of networks ``pretrained``, ``finetuned`` and ``random``.

    Returns
    -------
    str
        A sentence a measure, on the deeper half of the layers, and a verdict.
    """
    layers = list(dict.fromkeys(complexity["layer"]))
    deep = layers[len(layers) // 2 :]
    rows = complexity[complexity["layer"].isin(deep)].set_index(["measure", "network"]).sort_index()
    sentences, simpler, more = [], [], []
    for measure, title in MEASURES.items():
        change = rows.loc[(measure, "finetuned - pretrained")]
        to_random = rows.loc[(measure, "random - pretrained")]
        lower, higher = (change["high"] < 0).sum(), (change["low"] > 0).sum()
        simpler.append(lower)
        more.append(higher)
        sentences.append(
            f"{title}: lower after finetuning in {lower} of the {len(deep)} deeper layers, higher "
            f"in {higher}, undecided in {len(deep) - lower - higher} (mean change "
            f"{change['mean'].mean():+.3f}; to random {to_random['mean'].mean():+.3f})."
        )
    if min(simpler) > len(deep) / 2 and max(more) == 0:
        verdict = "The data support C1: by both measures, most deep layers' images become simpler."
    elif max(simpler) == 0:
        verdict = "The data do not support C1: in no deep layer do the images become simpler."
    else:
        verdict = "The data support C1 in part: the measures or the deep layers disagree."
    return "\n".join([*sentences, verdict])


def _interval(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    if len(values) < 2 or np.ptp(values) == 0:
        return (np.nan, np.nan) if len(values) < 2 else (values[0], values[0])
    generator = np.random.default_rng(seed)
    options = {"n_resamples": resamples, "method": "percentile", "random_state": generator}
    return tuple(bootstrap((values,), np.mean, **options).confidence_interval)
