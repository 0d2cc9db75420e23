"""An activation atlas: which directions a layer uses on patches, before and after finetuning.

After Carter et al., "Activation Atlas", Distill 2019: activations of single positions are laid out
in the plane, and those of each cell of a grid are averaged, and rendered. Networks share the grid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from utils.networks.model import Model, activations
from utils.optvis.recipes import Recipe, render_directions
from utils.patches import PatchSet
from utils.statistics import steady_scaler

_COMPONENTS = 30  # principal ones, from which the plane is made
_EDGE = 0.01  # share of the activations that lies beyond each side of the grid, and is moved in


@dataclass(frozen=True)
class Atlas:
    """Activations of positions on a grid of G x G cells, by network."""

    layer: str
    places: dict[str, np.ndarray]  # (M, 2), from 0 to 1, right and down
    vectors: dict[str, np.ndarray]  # (G, G, C), mean activations; NaN where there are too few
    counts: dict[str, np.ndarray]  # (G, G), positions
    tumor: dict[str, np.ndarray]  # (G, G), share of positions in tumor patches; NaN where none


def activation_atlas(
    models: Mapping[str, Model],
    patches: PatchSet,
    layer: str,
    *,
    cells: int = 8,
    positions: int = 4,
    least: int = 5,
    seed: int = 0,
) -> Atlas:
    """Lay out the activations of several networks on one grid.

    Parameters
    ----------
    models : mapping of str to Model
        Networks of one architecture, by name; channels are compared by their number.
    patches : PatchSet
    layer : str
    cells : int
        Cells along each side of the grid.
    positions : int
        Positions that are drawn per patch, the same for all networks.
    least : int
        Number of positions below which a cell has no mean.
    seed : int
        Seed of the draw and of t-SNE (scikit-learn).

    Returns
    -------
    Atlas
    """
    drawn = {
        name: _draw(model, patches.images, layer, positions, seed) for name, model in models.items()
    }
    together = np.concatenate([*drawn.values()])
    if len(together) < 4 * least:
        raise ValueError(f"{len(together)} positions are too few: give more patches, or positions.")
    # Within each network: what differs between positions lays out the plane, not between networks.
    scaled = np.concatenate([steady_scaler(one).transform(one) for one in drawn.values()])
    components = min(_COMPONENTS, *scaled.shape)
    reduced = PCA(components, random_state=seed).fit_transform(scaled)
    perplexity = min(30.0, (len(reduced) - 1) / 3)
    plane = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(reduced)
    low, high = np.quantile(plane, [_EDGE, 1 - _EDGE], axis=0)
    places = np.split(np.clip((plane - low) / (high - low), 0, 1), len(models))
    labels = np.repeat(patches.labels, positions)
    tables = [
        _average(*one, labels, cells, least) for one in zip(places, drawn.values(), strict=True)
    ]
    by_network = [dict(zip(models, values, strict=True)) for values in zip(*tables, strict=True)]
    return Atlas(layer, dict(zip(models, places, strict=True)), *by_network)


def _draw(model: Model, images: np.ndarray, layer: str, count: int, seed: int) -> np.ndarray:
    """Draw activations of positions of each patch, ``(N * count, C)``."""
    generator, vectors = np.random.default_rng(seed), []
    for batch in model.map(activations, layer, images=images, description=model.title):
        flat = batch.numpy().reshape(len(batch), -1, batch.shape[-1])
        chosen = generator.integers(0, flat.shape[1], (len(flat), count))
        vectors.append(np.take_along_axis(flat, chosen[..., None], axis=1))
    return np.concatenate(vectors).reshape(-1, vectors[0].shape[-1])


def _average(
    places: np.ndarray, vectors: np.ndarray, labels: np.ndarray, cells: int, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average vectors by cell, count them, and tell the share of tumor."""
    columns, rows = np.minimum((places * cells).astype(int), cells - 1).T
    index = rows * cells + columns
    counts = np.bincount(index, minlength=cells**2)
    sums = np.zeros((cells**2, vectors.shape[1]))
    np.add.at(sums, index, vectors)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where((counts >= least)[:, None], sums / counts[:, None], np.nan)
        tumor = np.bincount(index, labels, cells**2) / counts
    grid = (cells, cells)
    return means.reshape(*grid, -1).astype(np.float32), counts.reshape(grid), tumor.reshape(grid)


def render_atlas(
    models: Mapping[str, Model], atlas: Atlas, recipe: Recipe, *, size: int = 64, **options: Any
) -> dict[str, np.ndarray]:
    """Render the mean direction of each cell.

    Parameters
    ----------
    models : mapping of str to Model
        The networks of the atlas.
    atlas : Atlas
    recipe : Recipe
    size : int
        Side of the images in pixels.
    **options
        ``power`` and ``seed``, as in `render_directions`.

    Returns
    -------
    dict of str to array, (G, G, size, size, 3), float32 in [0, 1]
        By network; white where a cell has no mean.
    """
    images = {}
    for name, model in models.items():
        vectors = atlas.vectors[name]
        known = np.isfinite(vectors).all(axis=-1)
        images[name] = np.ones((*known.shape, size, size, 3), np.float32)
        if known.any():
            about = model, atlas.layer, vectors[known], recipe
            images[name][known] = render_directions(*about, size=size, **options)
    return images
