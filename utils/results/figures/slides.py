"""Figures of whole slides: tissue, annotations, and maps beside them."""

from collections.abc import Mapping

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.results.figures import style

_ANNOTATED = {"color": "#ffffff", "linewidth": 2.2}, {"color": "#000000", "linewidth": 1.0}
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
    axes[0].imshow(overview, extent=extent)
    axes[0].contour(
        tissue, levels=[0.5], colors="#0072b2", linewidths=0.8, extent=extent, origin="upper"
    )
    axes[0].set_title("slide, tissue outlined", fontsize=8)
    _scale_bar(axes[0], width * step, height * step, microns)
    for panel, (name, heat) in zip(axes[1:], maps.items(), strict=False):
        _draw_map(figure, panel, name, heat, map_step)
    for panel in axes[:count]:
        _outline(panel, annotated)
        panel.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
    for panel in axes[count:]:
        panel.set_visible(False)
    return figure


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
    figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02).ax.tick_params(labelsize=7)


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
