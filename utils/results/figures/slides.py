"""Figures of whole slides: tissue, annotations, and maps beside them."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from utils.results.figures import style

_ANNOTATED = {"color": "#ffffff", "linewidth": 2.2}, {"color": "#000000", "linewidth": 1.0}
_CLASSES = {"normal": "#56b4e9", "tumor": "#e69f00"}
_TISSUE = "#004a75"
_COLUMNS = 4


def slide_maps(
    overview: np.ndarray,
    tissue: np.ndarray,
    maps: Mapping[str, np.ndarray],
    *,
    annotated: shapely.Geometry | None = None,
    step: float,
    microns: float,
    map_step: float,
    title: str = "",
) -> Figure:
    """Show an overview of a slide with its tissue, and maps of it, with a scale bar.

    Parameters
    ----------
    overview : array, (H, W, 3), uint8
    tissue : array, (H, W), bool
    maps : mapping of str to array, (h, w), float32
        By name; NaN where there is no tile. Those with values of both signs are signed.
    annotated : shapely geometry, optional
        Tumour, in pixels of level 0; outlined.
    step, map_step : float
        Pixels of level 0 per pixel of the overview, and of the maps.
    microns : float
        Micrometres per pixel of level 0.
    title : str

    Returns
    -------
    Figure
    """
    count = 1 + len(maps)
    columns = count if count <= _COLUMNS else 3
    rows = -(-count // columns)
    height, width = overview.shape[:2]
    each = 3.2
    size = each * columns + 0.4, (each * min(2.0, height / width) + 0.6) * rows + 0.4
    figure, grid = style.panels(rows, columns, size, title, subplot_kw=style.BARE)
    axes = grid.ravel()
    extent = (0, width * step, height * step, 0)
    _draw_tissue(axes[0], overview, tissue, step, microns)
    axes[0].set_title("slide, tissue outlined", fontsize=8)
    for panel, (name, heat) in zip(axes[1:], maps.items(), strict=False):
        _draw_map(figure, panel, name, heat, map_step)
    for panel in axes[:count]:
        _outline(panel, annotated)
        panel.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
    for panel in axes[count:]:
        panel.set_visible(False)
    return figure


def slide_patches(
    overview: np.ndarray,
    tissue: np.ndarray,
    corners: np.ndarray,
    labels: np.ndarray,
    *,
    side: float,
    annotated: shapely.Geometry | None = None,
    step: float,
    microns: float,
    title: str = "",
) -> Figure:
    """Show where patches were cut from a slide, by class, over its tissue and annotations.

    Parameters
    ----------
    overview, tissue, annotated, step, microns, title
        As of `slide_maps`.
    corners : array, (N, 2)
        Upper left corners of the patches, in pixels of level 0.
    labels : array, (N,)
        0 normal, 1 tumor.
    side : float
        Side of the patches, in pixels of level 0.

    Returns
    -------
    Figure
    """
    height, width = overview.shape[:2]
    size = 7.0, 6.4 * min(1.6, height / width) + 0.8
    figure, grid = style.panels(1, 1, size, title, subplot_kw=style.BARE)
    axes = grid.ravel()[0]
    _draw_tissue(axes, overview, tissue, step, microns)
    for label, name in enumerate(("normal", "tumor")):
        chosen = corners[np.asarray(labels) == label]
        look = {"facecolor": "none", "edgecolor": _CLASSES[name], "linewidth": 1.4}
        patches = [Rectangle(corner, side, side) for corner in chosen.tolist()]
        axes.add_collection(PatchCollection(patches, **look))
        axes.plot(
            [],
            [],
            "s",
            markerfacecolor="none",
            markeredgecolor=_CLASSES[name],
            label=(f"{len(chosen)} {name} patches of {side * microns:.0f} µm"),
        )
    axes.plot([], [], color=_TISSUE, linewidth=0.8, label="tissue")
    if annotated is not None:
        axes.plot([], [], **_ANNOTATED[1], label="annotated tumour")
    _outline(axes, annotated)
    axes.set(xlim=(0, width * step), ylim=(height * step, 0), aspect="equal")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _draw_tissue(
    axes: Axes, overview: np.ndarray, tissue: np.ndarray, step: float, microns: float
) -> None:
    height, width = (length * step for length in overview.shape[:2])
    extent = (0, width, height, 0)
    axes.imshow(overview, extent=extent)
    if tissue.any() and not tissue.all():
        outline = {"colors": _TISSUE, "linewidths": 0.8, "extent": extent, "origin": "upper"}
        axes.contour(tissue, levels=[0.5], **outline)
    _scale_bar(axes, width, height, microns)


def colour_probability(heat: np.ndarray) -> np.ndarray:
    """Colour probabilities, ``(H, W)``, as in the figure: RGB, uint8, white where one is NaN."""
    pixels = matplotlib.colormaps["cividis"](np.nan_to_num(heat), bytes=True)[..., :3]
    return np.where(np.isnan(heat)[..., None], np.uint8(255), pixels)


def _draw_map(figure: Figure, axes: Axes, name: str, heat: np.ndarray, step: float) -> None:
    extent = (0, heat.shape[1] * step, heat.shape[0] * step, 0)
    largest = np.nanmax(np.abs(heat)) or 1.0
    options = {"cmap": "cividis", "vmin": np.nanmin(heat), "vmax": np.nanmax(heat)}
    if name == "probability":
        options |= {"vmin": 0, "vmax": 1}
    elif np.nanmin(heat) < 0 < np.nanmax(heat):
        options = {"cmap": "PuOr_r", "vmin": -largest, "vmax": largest}
    image = axes.imshow(heat, extent=extent, **options)
    titles = {"probability": "probability of tumor"}
    axes.set_title(titles.get(name, style.title_of(name)), fontsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    label = "for (+) or against (−) tumor" if name in style.methods() else "predicted value"
    bar.set_label("probability" if name == "probability" else label, fontsize=7)


def _outline(axes: Axes, area: shapely.Geometry | None) -> None:
    for polygon in shapely.get_parts(area) if area is not None else ():
        for ring in (polygon.exterior, *polygon.interiors):
            for look in _ANNOTATED:
                axes.plot(*ring.xy, **look)


def _scale_bar(axes: Axes, width: float, height: float, microns: float) -> None:
    """Draw a bar of a round length, about a quarter of the width."""
    wanted = width * microns / 4
    power = 10 ** np.floor(np.log10(wanted))
    length = max(m * power for m in (1, 2, 5) if m * power <= wanted)
    x, y = 0.04 * width, 0.97 * height
    axes.plot([x, x + length / microns], [y, y], color="#000000", linewidth=3)
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    axes.text(x, y - 0.015 * height, text, fontsize=8, va="bottom")
