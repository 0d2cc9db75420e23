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
    """Choose channels of each layer by a named rule, never by eye.

    Parameters
    ----------
    responses : mapping of str to array, (N, C)
        Mean activation of each channel on N patches, by layer.
    count, seed : int
        Number of channels per layer, and seed of the draw.
    rule : str
        ``sample``: see `sample_channels`; ``highest``: those with the highest mean response.

    Returns
    -------
    dict of str to list of int
        Channel numbers by layer: a sample in ascending order, or the highest first.
    """
    if rule == "sample":
        return sample_channels(responses, count, seed=seed)
    if rule == "highest":
        means = {layer: response.mean(axis=0) for layer, response in responses.items()}
        return {k: np.argsort(-v, kind="stable")[:count].tolist() for k, v in means.items()}
    raise ValueError(f"rule is {rule!r}; expected sample or highest.")


def sample_channels(
    responses: Mapping[str, np.ndarray], count: int, *, seed: int = 0
) -> dict[str, list[int]]:
    """Draw, for each layer by itself, from the channels that vary: others cannot be excited."""
    chosen = {}
    for layer, response in responses.items():
        varying = varying_channels(response)
        if len(varying) < count:
            raise ValueError(f"{layer} has {len(varying)} channels that vary; expected {count}.")
        generator = np.random.default_rng([seed, zlib.crc32(layer.encode())])
        chosen[layer] = sorted(generator.permutation(varying)[:count].tolist())
    return chosen


def exciting_patches(response: np.ndarray, number: int, count: int = 9) -> np.ndarray:
    """Indices of the `count` patches on which a channel of ``(N, C)`` responds most, in order."""
    return np.argsort(-response[:, number], kind="stable")[:count]
