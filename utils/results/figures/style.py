"""One style for all figures."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

# Okabe and Ito's colours, which are safe for the colour-blind, each with its own marker.
NETWORK_STYLES = {
    "random": {"color": "#7f7f7f", "marker": "s", "linestyle": ":"},
    "pretrained": {"color": "#0072b2", "marker": "o", "linestyle": "--"},
    "finetuned": {"color": "#d55e00", "marker": "^", "linestyle": "-"},
}
# Other names take one of these styles, always the same for the same name.
_OTHER_STYLES = [
    {"color": color, "marker": marker, "linestyle": linestyle}
    for linestyle in ("--", "-.")
    for color, marker in zip(
        ("#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#000000"), "DPvX*", strict=True
    )
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


def _other_style(name: str) -> dict[str, str]:
    return _OTHER_STYLES[zlib.crc32(name.encode()) % len(_OTHER_STYLES)]


def _methods() -> dict[str, Any]:
    # Imported here, since the pages draw nothing and need no TensorFlow.
    from utils.heatmaps import BASELINES, METHODS

    return {**METHODS, **BASELINES}


def method_style(name: str) -> dict[str, str]:
    """Return the colour, marker and line of a method or baseline, also of an unknown one."""
    methods = _methods()
    if name not in methods:
        return _other_style(name)
    return {**_other_style(name), "linestyle": "-", **methods[name].style}


def title_of(method: str) -> str:
    """Return the title of a heat-map method or baseline in figures."""
    methods = _methods()
    return methods[method].title if method in methods else method


def sort_methods(names: Iterable[str]) -> list[str]:
    """Sort methods and baselines in the order of their registries, unknown ones last."""
    order = {name: place for place, name in enumerate(_methods())}
    return sorted(names, key=lambda name: order.get(name, len(order)))


def network_style(name: str) -> dict[str, str]:
    """Return the colour, marker and line of a network, also of an unknown one."""
    return NETWORK_STYLES.get(name) or _other_style(name)


def pair_style(one: str, other: str) -> dict[str, str]:
    """Return the style of a network compared with the pretrained one, or of another pair."""
    if one == "pretrained" and other in NETWORK_STYLES:
        return NETWORK_STYLES[other]
    return _other_style(f"{one} and {other}")


def network_styles(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the styles of networks: the known ones in their order, then the others."""
    given = list(dict.fromkeys(names))
    order = [name for name in NETWORK_STYLES if name in given]
    order += [name for name in given if name not in NETWORK_STYLES]
    return {name: network_style(name) for name in order}


def draw_intervals(
    axes: Axes,
    tables: Mapping[str, pd.DataFrame],
    styles: Iterable[Mapping[str, Any]],
    reach: float,
    ticks: Sequence[str],
    *,
    level: str = "",
    **options: Any,
) -> None:
    """Draw ``mean``, ``low`` and ``high`` of several tables, side by side at each tick.

    With `level`, the mean of the row of this name is a dotted line across.
    """
    offsets = np.linspace(-reach, reach, len(tables)) if len(tables) > 1 else [0]
    for (label, rows), style, offset in zip(tables.items(), styles, offsets, strict=True):
        if level:
            line = {"color": style["color"], "linewidth": 0.8, "linestyle": ":"}
            axes.axhline(rows.loc[level, "mean"], **line)
            rows = rows.reindex(ticks)
        bars = np.abs(rows[["low", "high"]].sub(rows["mean"], axis=0)).to_numpy().T
        style = {"label": label, "markersize": 4, "capsize": 2, **style}
        axes.errorbar(np.arange(len(rows)) + offset, rows["mean"], bars, **style)
    axes.set_xticks(np.arange(len(ticks)), ticks, fontsize=8, **options)


def legend_below(figure: Figure, axes: Axes, **options) -> None:
    """Put the legend of one of the axes under the figure, in one row."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), **options)
