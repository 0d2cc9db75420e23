"""One style for all figures, and the shapes that several of them share."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib_inline.backend_inline import set_matplotlib_formats

# Okabe and Ito's colours, which are safe for the colour-blind, each with its own marker.
NETWORK_STYLES = {
    "random": {"color": "#7f7f7f", "marker": "s", "linestyle": ":"},
    "pretrained": {"color": "#0072b2", "marker": "o", "linestyle": "--"},
    "finetuned": {"color": "#d55e00", "marker": "^", "linestyle": "-"},
}
# Other names take one of these styles, always the same for the same name.
_MARKERS = {"#009e73": "D", "#e69f00": "P", "#cc79a7": "v", "#56b4e9": "X", "#000000": "*"}
_OTHER_STYLES = [
    {"color": color, "marker": marker, "linestyle": linestyle}
    for linestyle in ("--", "-.")
    for color, marker in _MARKERS.items()
]
_RC = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "image.interpolation": "nearest",
    # For saving as PDF or SVG: with fonts, and the same bytes each time.
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "figures",
}


def use_style() -> None:
    """Set the style of all figures; in a notebook, show them as JPEG, which keeps it small."""
    matplotlib.rcParams.update(_RC)
    if get_ipython() is not None:
        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 75})


def methods() -> dict[str, Any]:
    """Return the heat-map methods and baselines by name, in the order of their registries."""
    # Imported here, since the pages draw nothing and need no TensorFlow.
    from utils.heatmaps import BASELINES, METHODS

    return {**METHODS, **BASELINES}


def title_of(method: str) -> str:
    """Return the title of a heat-map method or baseline in figures."""
    known = methods()
    return known[method].title if method in known else method


def method_style(name: str) -> dict[str, str]:
    """Return the colour, marker and line of a method or baseline, also of an unknown one."""
    known = methods()
    return _other_style(name) | ({"linestyle": "-", **known[name].style} if name in known else {})


def network_styles(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the styles of networks: the known ones in their order, then the others."""
    names = list(names)
    known = {name: style for name, style in NETWORK_STYLES.items() if name in names}
    return known | {name: _other_style(name) for name in names if name not in known}


def pair_style(one: str, other: str) -> dict[str, str]:
    """Return the style of a network compared with the pretrained one, or of another pair."""
    if one == "pretrained" and other in NETWORK_STYLES:
        return NETWORK_STYLES[other]
    return _other_style(f"{one} and {other}")


def _other_style(name: str) -> dict[str, str]:
    return _OTHER_STYLES[zlib.crc32(name.encode()) % len(_OTHER_STYLES)]


def panels(
    rows: int, columns: int, size: tuple[float, float], title: str, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `size` inches with a title, and its axes, ``(rows, columns)``."""
    figure = Figure(figsize=size)
    figure.suptitle(title)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def image_grid(
    rows: int, columns: int, size: tuple[float, float], title: str
) -> tuple[Figure, np.ndarray]:
    """Return `panels` for images, without frames and ticks."""
    figure, grid = panels(rows, columns, size, title)
    for axes in grid.flat:
        axes.axis("off")
    return figure, grid


def show_image(axes: Axes, image: np.ndarray, title: str, fontsize: int = 8, **options) -> None:
    """Show an image under a title."""
    axes.imshow(image)
    axes.set_title(title, fontsize=fontsize, **options)


def show_matrix(axes: Axes, values: pd.DataFrame, limit: float, **options: Any) -> AxesImage:
    """Show a table of numbers in [-limit, limit] as colours, with its labels as ticks."""
    image = axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, **options)
    axes.grid(False)
    set_ticks(axes, values.columns)
    axes.set_yticks(range(len(values)), values.index)
    return image


def set_ticks(axes: Axes, names: Sequence[str], **options: Any) -> None:
    """Write names, such as those of layers, at the places 0, 1, ... of the horizontal axis."""
    axes.set_xticks(range(len(names)), names, **{"rotation": 90, "fontsize": 8, **options})


def fill_band(axes: Axes, low: pd.Series, high: pd.Series, **options: Any) -> None:
    """Fill the band between two curves over the places 0, 1, ..."""
    axes.fill_between(range(len(low)), low, high, **{"alpha": 0.15, "linewidth": 0, **options})


def draw_intervals(
    axes: Axes,
    tables: Mapping[str, pd.DataFrame],
    styles: Iterable[Mapping[str, Any]],
    reach: float,
    *,
    baseline: str = "",
) -> None:
    """Draw ``mean``, ``low`` and ``high`` of several tables, side by side at each place.

    The mean of the row `baseline`, where given, is a dotted line across.
    """
    offsets = np.linspace(-reach, reach, len(tables)) if len(tables) > 1 else [0]
    for (label, rows), style, offset in zip(tables.items(), styles, offsets, strict=True):
        if baseline:
            line = {"color": style["color"], "linewidth": 0.8, "linestyle": ":"}
            axes.axhline(rows.loc[baseline, "mean"], **line)
            rows = rows.drop(index=baseline)
        bars = np.abs(rows[["low", "high"]].sub(rows["mean"], axis=0)).to_numpy().T
        style = {"label": label, "markersize": 4, "capsize": 2, **style}
        axes.errorbar(np.arange(len(rows)) + offset, rows["mean"], bars, **style)


def legend_below(figure: Figure, axes: Axes, **options: Any) -> None:
    """Put the legend of one of the axes under the figure, in one row."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), **options)
