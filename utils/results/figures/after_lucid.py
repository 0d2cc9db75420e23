"""Figures of what came after Lucid: priors, accentuated patches, exemplars and atlases."""

from collections.abc import Mapping, Sequence

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from utils.results.figures import style

_DIFFERENCE = "PuOr_r"  # brighter is orange
_TUMOR = "cividis"  # of the share of tumor


def priors_by_network(
    images: Mapping[str, Mapping[str, np.ndarray]], titles: Sequence[str], *, title: str = ""
) -> Figure:
    """Show the same channels of each network under each prior, one row per pair.

    Parameters
    ----------
    images : mapping of str to mapping of str to array, (n, H, W, 3), float in [0, 1]
        By prior and network, of one layer.
    titles : sequence of str
        Names of the n channels.
    title : str

    Returns
    -------
    Figure
    """
    rows = [(network, prior) for network in next(iter(images.values())) for prior in images]
    size = 1.5 * len(titles) + 0.9, 1.55 * len(rows) + 0.5
    figure, grid = style.panels(len(rows), len(titles), size, title, subplot_kw=style.BARE)
    for index, (row, (network, prior)) in enumerate(zip(grid, rows, strict=True)):
        row[0].set_ylabel(f"{network},\nspectrum of {prior}", fontsize=8)
        for axes, image, text in zip(row, images[prior][network], titles, strict=True):
            style.show_image(axes, image, "" if index else text)
    return figure


def accentuations(
    patches: np.ndarray, images: np.ndarray, texts: Sequence[str], *, title: str = ""
) -> Figure:
    """Show patches, what was made of them, and the difference of their brightness.

    Parameters
    ----------
    patches : array, (N, H, W, 3), uint8
    images : array, (N, H, W, 3), float in [0, 1]
    texts : sequence of str
        What each accentuates.
    title : str

    Returns
    -------
    Figure
    """
    differences = [
        (255 * image - patch).mean(axis=-1) for image, patch in zip(images, patches, strict=True)
    ]
    largest = max(np.abs(differences).max(), 1.0)
    size = 1.7 * len(patches) + 1.2, 5.8
    figure, grid = style.panels(3, len(patches), size, title, subplot_kw=style.BARE)
    for name, row in zip(("patch", "accentuated", "difference"), grid, strict=True):
        row[0].set_ylabel(name, fontsize=8)
    for column, (patch, image, change, text) in enumerate(
        zip(patches, images, differences, texts, strict=True)
    ):
        style.show_image(grid[0, column], patch, text)
        style.show_image(grid[1, column], image, "")
        shown = grid[2, column].imshow(change, cmap=_DIFFERENCE, vmin=-largest, vmax=largest)
    bar = figure.colorbar(shown, ax=grid[2].tolist(), shrink=0.9, pad=0.01)
    bar.set_label("brighter (+), darker (−)\ngrey levels", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure


def exemplars_beside(
    images: np.ndarray,
    exemplars: Mapping[str, Sequence[Sequence[np.ndarray]]],
    texts: Sequence[str],
    *,
    title: str = "",
    count: int = 4,
) -> Figure:
    """Show each channel's image beside the patches that come first by each score.

    Parameters
    ----------
    images : array, (K, H, W, 3), uint8 or float in [0, 1]
    exemplars : mapping of str to sequence of sequence of array, (h, w, 3), uint8
        By score and channel, such as ``Exemplars.images``.
    texts : sequence of str
        Names of the K channels.
    title : str
    count : int
        Number of exemplars shown per score.

    Returns
    -------
    Figure
    """
    columns = 1 + count * len(exemplars)
    size = 1.15 * columns, 1.3 * len(images) + 0.7
    figure, grid = style.panels(len(images), columns, size, title, subplot_kw=style.BARE)
    for k, (row, image, text) in enumerate(zip(grid, images, texts, strict=True)):
        style.show_image(row[0], image, "channel image" if k == 0 else "")
        row[0].set_ylabel(text, fontsize=8)
        for s, (score, by_channel) in enumerate(exemplars.items()):
            for place in range(count):
                axes = row[1 + s * count + place]
                if place < len(by_channel[k]):
                    first = k == 0 and place == 0
                    style.show_image(axes, by_channel[k][place], f"by {score}" if first else "")
    return figure


def atlas_by_network(
    images: Mapping[str, np.ndarray], tumor: Mapping[str, np.ndarray], *, title: str = ""
) -> Figure:
    """Show the cells of an activation atlas, framed by the share of positions in tumor patches.

    Parameters
    ----------
    images : mapping of str to array, (G, G, H, W, 3), float in [0, 1]
        By network.
    tumor : mapping of str to array, (G, G), from 0 to 1
    title : str

    Returns
    -------
    Figure
    """
    colormap = matplotlib.colormaps[_TUMOR]
    size = 4.6 * len(images) + 0.8, 5.2
    figure, (panels,) = style.panels(1, len(images), size, title, subplot_kw=style.BARE)
    for axes, (network, cells) in zip(panels, images.items(), strict=True):
        side, frame = cells.shape[2], max(2, cells.shape[2] // 16)
        canvas = np.ones((*cells.shape[:2], side + 2 * frame, side + 2 * frame, 3), np.float32)
        for row, column in np.ndindex(cells.shape[:2]):
            share, cell = tumor[network][row, column], cells[row, column]
            if (cell < 1).any():
                border = cv2.BORDER_CONSTANT, None, colormap(share)[:3]
                edges = (frame,) * 4
                framed = cv2.copyMakeBorder(np.ascontiguousarray(cell), *edges, *border)
                canvas[row, column] = framed
        height = cells.shape[0] * canvas.shape[2]
        style.show_image(axes, canvas.swapaxes(1, 2).reshape(height, -1, 3), network)
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 1), colormap)
    figure.colorbar(scale, ax=panels.tolist(), shrink=0.7, label="share of tumor (frame)")
    return figure


def discovered_concepts(
    pictures: np.ndarray,
    crops: Sequence[np.ndarray],
    overlays: Sequence[np.ndarray],
    texts: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Show concepts without names, one per row: its image, its crops, and where it lies in patches.

    Parameters
    ----------
    pictures : array, (K, H, W, 3), float in [0, 1]
    crops : sequence of array, (n, h, w, 3), uint8
    overlays : sequence of array, (m, H, W, 3), uint8
        Maps over the patches that have most of each concept.
    texts : sequence of str
        What is known of each.
    title : str

    Returns
    -------
    Figure
    """
    shown = [
        [picture, *of_crops, *of_patches]
        for picture, of_crops, of_patches in zip(pictures, crops, overlays, strict=True)
    ]
    columns = max(map(len, shown))
    size = 1.15 * columns + 1.2, 1.3 * len(shown) + 0.6
    figure, grid = style.panels(len(shown), columns, size, title, subplot_kw=style.BARE)
    heads = {0: "image", 1: "crops with most of it", 1 + len(crops[0]): "where it lies"}
    for row, (axes, images, text) in enumerate(zip(grid, shown, texts, strict=True)):
        axes[0].set_ylabel(text, fontsize=7, rotation=0, ha="right", va="center")
        for place, image in enumerate(images):
            style.show_image(axes[place], image, "" if row else heads.get(place, ""))
    return figure
