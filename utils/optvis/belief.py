"""Whether a channel image can be believed: whether it takes a path as patches do.

After Geirhos et al., "Don't trust your eyes: on the (un)reliability of feature visualizations",
ICML 2024 (arXiv 2306.04719): images that excite a channel may reach it by another path than
anything natural, and then say nothing about it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

QUANTILE = 0.05  # of patches among each other, below which an image travels unlike any patch
_CHUNK = 256  # rows that are compared at once


def path_similarity(
    images: Mapping[str, np.ndarray], patches: Mapping[str, np.ndarray], layers: Sequence[str]
) -> np.ndarray:
    """Compare the paths of images and patches: mean rank correlation of features over layers.

    Parameters
    ----------
    images : mapping of str to array, (n, C)
        Mean activation of every channel, by layer, such as from `layer_features`.
    patches : mapping of str to array, (N, C)
        The same of patches, by whose mean and deviation channels are standardised.
    layers : sequence of str
        Layers on the path, up to that of the channel.

    Returns
    -------
    array, (n, N), float32, from -1 to 1
    """
    total = 0
    for layer in layers:
        reference = np.asarray(patches[layer], np.float64)
        deviation = reference.std(axis=0)
        kept = deviation > 1e-6 * deviation.max()
        ranks = [
            rankdata((x[:, kept] - reference.mean(axis=0)[kept]) / deviation[kept], axis=1)
            for x in (np.asarray(images[layer], np.float64), reference)
        ]
        ranks = [r - r.mean(axis=1, keepdims=True) for r in ranks]
        ranks = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in ranks]
        total = total + ranks[0] @ ranks[1].T
    return np.float32(total / len(layers))


def believe(
    images: Mapping[str, np.ndarray],
    patches: Mapping[str, np.ndarray],
    groups: np.ndarray,
    layers: Sequence[str],
) -> pd.DataFrame:
    """Tell which images travel through a network like some patch, and which unlike any.

    Parameters
    ----------
    images, patches, layers
        As in `path_similarity`.
    groups : array, (N,)
        Region or patient of the patches: a patch is compared with those of other groups only, since
        neighbours overlap.

    Returns
    -------
    DataFrame, one row per image
        ``path``, the highest similarity to a patch; ``path_patches``, its median for patches; and
        ``natural``, whether `path` is at least what all but the lowest twentieth of the patches
        have.
    """
    groups = np.asarray(groups)
    if len(np.unique(groups)) < 2:
        raise ValueError("all patches are of one group: with which others should they be compared?")
    highest = []
    for start in range(0, len(groups), _CHUNK):
        rows = slice(start, start + _CHUNK)
        some = {layer: patches[layer][rows] for layer in layers}
        others = path_similarity(some, patches, layers)
        others[groups[rows, None] == groups[None]] = -np.inf
        highest.append(others.max(axis=1))
    among = np.concatenate(highest)
    path = path_similarity(images, patches, layers).max(axis=1)
    natural = path >= np.quantile(among, QUANTILE)
    return pd.DataFrame({"path": path, "path_patches": np.median(among), "natural": natural})
