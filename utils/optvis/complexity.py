"""Numbers beside the pictures: what a rendered image achieves, and how complex it is."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd


def compressed_bytes(images: np.ndarray) -> np.ndarray:
    """Size of each image as PNG, ``(N,)``, bytes a pixel; more structure compresses less.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
    """
    smallest = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    pixels = images.shape[1] * images.shape[2]
    return np.array([cv2.imencode(".png", image, smallest)[1].size / pixels for image in images])


def channel_table(
    images: Mapping[str, np.ndarray],
    channels: Mapping[str, Sequence[int]],
    features: Mapping[str, np.ndarray],
    responses: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    """Compare what rendered images achieve with what real patches do.

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
        ``patches_mean``, ``patches_max`` (the same on the patches), ``bytes_per_pixel``.
    """
    rows, start = [], 0
    for layer, numbers in channels.items():
        sizes = compressed_bytes(images[layer])
        for index, number in enumerate(numbers):
            real = responses[layer][:, number]
            achieved = features[layer][start + index, number]
            rows.append((layer, number, achieved, real.mean(), real.max(), sizes[index]))
        start += len(numbers)
    columns = ["layer", "channel", "image", "patches_mean", "patches_max", "bytes_per_pixel"]
    return pd.DataFrame(rows, columns=columns)
