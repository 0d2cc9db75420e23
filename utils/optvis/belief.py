"""Whether a channel image can be believed: whether it takes a path as patches do.

After Geirhos et al., "Don't trust your eyes: on the (un)reliability of feature visualizations",
ICML 2024 (arXiv 2306.04719): images that excite a channel may reach it by another path than
anything natural, and then say nothing about it.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

QUANTILE = 0.05  # of patches among each other, below which an image travels unlike any patch


def path_similarity(
    images: Mapping[str, np.ndarray],
    patches: Mapping[str, np.ndarray],
    layers: Sequence[str],
    reference: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Compare the paths of images and patches: mean rank correlation of features over layers.

    Parameters
    ----------
    images : mapping of str to array, (n, C)
        Mean activation of every channel, by layer, such as from `layer_features`.
    patches : mapping of str to array, (N, C)
        The same of patches.
    layers : sequence of str
        Layers on the path, up to that of the channel.
    reference : mapping of str to array, (M, C), optional
        Features by whose mean and deviation channels are standardised, by default the patches'.

    Returns
    -------
    array, (n, N), float32, from -1 to 1
    """
    total = 0
    for layer in layers:
        typical = np.asarray((reference or patches)[layer], np.float64)
        deviation = typical.std(axis=0)
        kept = deviation > 1e-6 * deviation.max()
        mean = typical.mean(axis=0)[kept]
        ranks = [
            rankdata((np.asarray(x[layer], np.float64)[:, kept] - mean) / deviation[kept], axis=1)
            for x in (images, patches)
        ]
        ranks = [r - r.mean(axis=1, keepdims=True) for r in ranks]
        ranks = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in ranks]
        total = total + ranks[0] @ ranks[1].T
    return np.float32(total / len(layers))


def believe(
    images: Mapping[str, np.ndarray],
    patches: Mapping[str, np.ndarray],
    groups: np.ndarray,
    counts: Mapping[str, int],
) -> pd.DataFrame:
    """Tell which channel images travel through a network like some patch, and which unlike any.

    Parameters
    ----------
    images, patches
        As in `path_similarity`.
    groups : array, (N,)
        Region or patient of the patches: a patch is compared with those of other groups only, since
        neighbours overlap. All N x N pairs are in memory.
    counts : mapping of str to int
        Layers from input to output, and how many of the images maximise a channel of each, in the
        order of the images; an image is judged by the layers up to its own.

    Returns
    -------
    DataFrame, one row per image
        ``path``, the highest similarity to a patch; ``path_patches``, its median for patches; and
        ``natural``, whether `path` is at least what all but the lowest twentieth of the patches
        have.
    """
    groups = np.asarray(groups)
    others = groups[:, None] != groups[None]
    if not others.any():
        warnings.warn(
            f"all {len(groups)} patches are of one group ({groups[0]}), so that each is compared "
            "with its neighbours, and channel images look less natural than they are.",
            stacklevel=2,
        )
        others = ~np.eye(len(groups), dtype=bool)
    of_images, of_patches, first, tables = 0, 0, 0, []
    for depth, (layer, count) in enumerate(counts.items(), 1):
        of_images = of_images + path_similarity(images, patches, [layer])
        of_patches = of_patches + path_similarity(patches, patches, [layer])
        path = of_images[first : first + count].max(axis=1) / depth
        among = np.where(others, of_patches, -np.inf).max(axis=1) / depth
        natural = path >= np.quantile(among, QUANTILE)
        columns = {"path": path, "path_patches": np.median(among), "natural": natural}
        tables.append(pd.DataFrame(columns))
        first += count
    return pd.concat(tables, ignore_index=True)


def unlike_patches(table: pd.DataFrame) -> set[tuple[str, str, int]]:
    """Return network, layer and channel of the images of `achieved` that no patch travels like."""
    rows = table[table["natural"] < 0.5]  # of several finetuned networks, less than half
    return set(zip(rows["network"], rows["layer"], rows["channel"], strict=True))
