"""Figure of interventions: what concept vectors predict, and what happens."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils.results.figures import style

_PREDICTED, _ACTUAL = "predicted by the concept's vector", "actual"
_LOOK = {"color": "#0072b2", "marker": "o", "linestyle": "-"}
_COLOR = "#d55e00"  # of what happens


def interventions(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw predicted changes of the logit by layer, and the actual one, one panel per intervention.

    The table is that of `utils.concepts.interventions.compare_with_vectors`, of one set of measures
    or several.
    """
    names = table["intervention"].unique()
    rows, columns = -(-len(names) // 2), min(2, len(names))
    size = 4.5 * columns, 3.5 * rows + 0.8
    figure, grid = style.panels(rows, columns, size, title)
    for axes in grid.flat[len(names) :]:
        axes.axis("off")
    for axes, name in zip(grid.flat, names, strict=False):
        changes = table[table["intervention"] == name]
        _draw_actual(axes, changes)
        ends = {f"predicted_{end}": end for end in ("low", "high")} | {"predicted": "mean"}
        values = changes.rename(columns=ends).assign(side=_PREDICTED).set_index(["side", "layer"])
        style.draw_intervals(axes, values, {_PREDICTED: _LOOK}, changes["layer"], 0)
        style.set_ticks(axes, changes["layer"])
        axes.axhline(0, color="#000000", linewidth=0.8, linestyle=":")
        first = changes.iloc[0]
        numbers = f"{first['n']} patches of {first['groups']} groups"
        axes.set_title(f"{_title_of(name)}\n(concept: {first['concept']}; {numbers})")
    for axes in grid[:, 0]:
        axes.set_ylabel("change of the log-odds of tumor")
    style.legend_below(figure, grid[0, 0])
    return figure


def _draw_actual(axes, changes: pd.DataFrame) -> None:
    """Draw the actual change, which is the same for all layers."""
    actual, low, high = changes[["actual", "actual_low", "actual_high"]].iloc[0]
    axes.axhline(actual, color=_COLOR, linestyle="--", label=_ACTUAL)
    if np.isfinite([low, high]).all():  # there is no interval over a single group
        axes.axhspan(low, high, color=_COLOR, **style.BAND)


def _title_of(name: str) -> str:
    """Return the title of an intervention; other names are their own."""
    # Imported here, since the pages draw nothing and need no TensorFlow.
    from utils.concepts.interventions import INTERVENTIONS

    return INTERVENTIONS[name].title if name in INTERVENTIONS else name
