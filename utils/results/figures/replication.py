"""Figure of the same measures in several sets of patches, side by side."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that no network has (Okabe and Ito), in the order of the sets, so that no two are alike.
_SETS = [
    {"color": "#009e73", "marker": "D"},
    {"color": "#e69f00", "marker": "v"},
    {"color": "#cc79a7", "marker": "P"},
    {"color": "#56b4e9", "marker": "X"},
    {"color": "#000000", "marker": "*"},
]
_FLOOR = -0.25  # where the axis of R2 ends; otherwise a few poor fits flatten all differences


def replication(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw every measure of several sets: the measures themselves above, and differences below.

    The table is that of `utils.concepts.compare_sets`.
    """
    # Imported only now, since the pages draw nothing and need no TensorFlow.
    from utils.concepts.replication import EFFECTS

    is_effect = table["measure"].isin(EFFECTS)
    halves = [table[~is_effect], table[is_effect]]
    counts = [half["measure"].nunique() for half in halves]
    figure = Figure((9, 0.36 * sum(counts) + 2.6))
    figure.suptitle(title)
    top, bottom = figure.subplots(2, 1, height_ratios=counts)
    for axes, half in zip((top, bottom), halves, strict=True):
        _draw(axes, half)
    top.set_xlim(_FLOOR, 1.05)
    top.set_xlabel("AUC, balanced accuracy, R² or CKA")
    bottom.axvline(0, color="#000000", linewidth=0.8, linestyle=":")
    bottom.set_xlabel("difference")
    handles, labels = top.get_legend_handles_labels()
    columns = max(1, min(3, 110 // max(map(len, labels))))  # so that the names have room
    about = "bars: 95 % intervals over groups, where there are enough"
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, title=about)
    return figure


def _draw(axes: Axes, table: pd.DataFrame) -> None:
    """Draw one row per measure, the sets under each other within it."""
    measures, sets = table["measure"].unique(), table["set"].unique()
    offsets = np.linspace(-0.25, 0.25, len(sets)) if len(sets) > 1 else [0]
    for name, look, offset in zip(sets, itertools.cycle(_SETS), offsets):
        rows = table[table["set"] == name].set_index("measure").loc[measures]
        y = np.arange(len(rows)) + offset
        bars = np.abs(rows[["low", "high"]].sub(rows["value"], axis=0)).to_numpy().T
        groups = rows["groups"].max()
        label = f"{name} ({groups} group{'' if groups == 1 else 's'})"
        axes.errorbar(
            rows["value"], y, xerr=bars, linestyle="none", label=label, markersize=6, **look
        )
        for place, value in zip(y, rows["value"], strict=True):
            if value < _FLOOR and axes.get_subplotspec().is_first_row():
                text = {"color": look["color"], "fontsize": 7, "va": "center"}
                axes.text(_FLOOR + 0.01, place, f"←{value:.1f}", **text)
    names = [name.replace("R2", "R²") for name in measures]
    axes.set_yticks(range(len(measures)), names, fontsize=9)
    axes.set_ylim(len(measures) - 0.5, -0.5)
    for place in range(1, len(measures)):
        axes.axhline(place - 0.5, color="#000000", alpha=0.1, linewidth=0.8)
    axes.grid(False, axis="y")
