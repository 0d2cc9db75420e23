"""One style for all figures, and the shapes that several of them share."""

import itertools
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
_COLORS = {"#009e73": "D", "#e69f00": "P", "#cc79a7": "v", "#56b4e9": "X", "#000000": "*"}
_OTHER_STYLES = [
    {"color": color, "marker": marker, "linestyle": line}
    for line, (color, marker) in itertools.product(("--", "-."), _COLORS.items())
]
_GREYED: set[str] = set()  # layers, from `grey_layers`
BARE = {"xticks": [], "yticks": [], "frame_on": False}  # axes with an image
BAND = {"alpha": 0.15, "linewidth": 0}  # an interval around a curve
CENTRED = {"ha": "center", "va": "center"}
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
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "image.interpolation": "nearest",
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


def title_of(name: str) -> str:
    """Return the title in figures of a heat-map method or baseline; other names are their own."""
    method = methods().get(name)
    return method.title if method else name


def style_of(name: str) -> dict[str, str]:
    """Return the colour, marker and line of a network, a method, a baseline or any other name."""
    if name in NETWORK_STYLES:
        return NETWORK_STYLES[name]
    other = _OTHER_STYLES[zlib.crc32(name.encode()) % len(_OTHER_STYLES)]
    method = methods().get(name)
    return other | ({"linestyle": "-", **method.style} if method else {})


def network_styles(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the styles of networks: the known ones in their order, then the others."""
    names = list(names)
    ordered = dict.fromkeys([*NETWORK_STYLES, *names])
    return {name: style_of(name) for name in ordered if name in names}


def distinct_styles(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return a style for each of at most ten names, all different, such as layers."""
    return dict(zip(names, _OTHER_STYLES, strict=False))


def panels(
    rows: int, columns: int, size: tuple[float, float], title: str, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `size` inches with a title, and its axes, ``(rows, columns)``."""
    figure = Figure(size)
    figure.suptitle(title)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def show_image(axes: Axes, image: np.ndarray, title: str, fontsize: int = 8, **options) -> None:
    """Show an image under a title."""
    axes.imshow(image)
    axes.set_title(title, fontsize=fontsize, **options)


def show_matrix(axes: Axes, values: pd.DataFrame, limit: float, **options: Any) -> AxesImage:
    """Show a table of numbers in [-limit, limit] as colours, with its labels as ticks."""
    image = axes.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, **options)
    axes.grid(False)
    set_ticks(axes, values.columns)
    axes.set_yticks(range(len(values)), values.index)
    return image


def grey_layers(names: Iterable[str]) -> None:
    """Draw these layers grey in all figures by layer from now on: they count for no verdict."""
    _GREYED.clear()
    _GREYED.update(names)


def set_ticks(axes: Axes, names: Sequence[str], **options: Any) -> None:
    """Write names, such as those of layers, at the places 0, 1, ... of the horizontal axis."""
    axes.set_xticks(range(len(names)), names, **{"rotation": 90, "fontsize": 8, **options})
    for place in (place for place, name in enumerate(names) if name in _GREYED):
        axes.axvspan(place - 0.5, place + 0.5, color="#000000", alpha=0.08, linewidth=0)
    for label in axes.get_xticklabels():
        if label.get_text() in _GREYED:
            label.set_color("#909090")


def draw_intervals(
    axes: Axes,
    values: pd.DataFrame,
    styles: Mapping[str, Mapping[str, Any]],
    places: Sequence,
    reach: float,
    **options: Any,
) -> None:
    """Draw ``mean``, ``low`` and ``high`` of each name that has a style, side by side at places.

    The values are indexed by name and place.
    """
    offsets = np.linspace(-reach, reach, len(styles)) if len(styles) > 1 else [0]
    for (name, line), offset in zip(styles.items(), offsets, strict=True):
        rows = values.xs(name).reindex(places)
        bars = np.abs(rows[["low", "high"]].sub(rows["mean"], axis=0)).to_numpy().T
        x = np.arange(len(rows)) + offset
        label = name if name in NETWORK_STYLES else title_of(name)  # "random" is a map too
        axes.errorbar(x, rows["mean"], bars, **{"label": label, **line, **options})


def legend_below(figure: Figure, axes: Axes, **options: Any) -> None:
    """Put the legend of one of the axes under the figure, in one row or two."""
    handles, labels = axes.get_legend_handles_labels()
    rows = 1 if len(labels) < 7 else 2
    columns = -(-len(labels) // rows)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, **options)
