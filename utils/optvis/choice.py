"""Which channels to render, chosen by a named rule, and the patches that excite them."""

import zlib
from collections.abc import Mapping

import numpy as np


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
        Number of channels per layer.
    rule : str
        ``sample`` (`sample_channels`) or ``highest`` (`highest_channels`).
    seed : int
        Seed of the sample.
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
        Number of channels per layer.
    seed : int
        Seed of the draw.

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
