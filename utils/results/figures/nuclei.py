"""Figures of what nuclei do to the prediction."""

from collections.abc import Mapping, Sequence

import cv2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from utils.patches import PatchSet, to_uint8
from utils.results.figures import style

TYPE_COLORS = {"connective": "#009e73", "inflammatory": "#0072b2", "neoplastic": "#d55e00"}
_CHANGES = "PuOr_r"  # purple: against tumor, orange: for it
# How the measures are called in the legends, and their looks.
_SINGLE = {"change": "the nucleus", "control": "its shape, elsewhere"}
_TOGETHER = {"necessity": "necessity: type removed", "sufficiency": "sufficiency: type alone"}
_LOOKS = ({"color": "#000000", "marker": "o"}, {"color": "#7f7f7f", "marker": "x"})


def outline_nuclei(
    patches: PatchSet, table: pd.DataFrame, colors: Sequence[np.ndarray]
) -> np.ndarray:
    """Outline nuclei on pale grey copies of their patches.

    The table has the columns ``patch`` and ``nucleus``; the colours, RGB in [0, 1], are one per
    row.
    """
    pictures = []
    for image in np.asarray(patches.images):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        pictures.append(np.repeat(128 + grey[..., None] // 2, 3, axis=-1))
    for row, color in zip(table.itertuples(), colors, strict=True):
        inside = np.uint8(patches.nuclei[row.patch] == row.nucleus)
        contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        rgb = tuple(to_uint8(np.array(color[:3])).tolist())
        cv2.drawContours(pictures[row.patch], contours, -1, rgb, 2)
    return np.stack(pictures)


def nuclei_patchwork(
    patches: PatchSet,
    overlays: Mapping[str, np.ndarray],
    effects: pd.DataFrame,
    titles: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Show patches beside overlays, the effect of each nucleus, and the types of nuclei.

    The effects have the columns ``patch``, ``nucleus``, ``type`` and ``change`` of the log-odds.
    """
    limit = max(effects["change"].abs().max(), 1e-6)
    scale = ScalarMappable(Normalize(-limit, limit), _CHANGES)
    typed = [matplotlib.colors.to_rgb(TYPE_COLORS.get(t, "#000000")) for t in effects["type"]]
    columns = {style.title_of(method): pictures for method, pictures in overlays.items()}
    columns["what each adds"] = outline_nuclei(patches, effects, scale.to_rgba(effects["change"]))
    columns["its type"] = outline_nuclei(patches, effects, typed)
    rows, count = len(patches), 1 + len(columns)
    size = 1.8 * count + 1, 1.9 * rows + 0.8
    figure, grid = style.panels(rows, count, size, title, subplot_kw=style.BARE)
    for index, (first, *others) in enumerate(grid):
        style.show_image(first, patches.images[index], titles[index], loc="left")
        for axes, (name, pictures) in zip(others, columns.items(), strict=True):
            style.show_image(axes, pictures[index], name if index == 0 else "")
    label = "log-odds of tumor that each nucleus adds"
    figure.colorbar(scale, ax=grid, pad=0.02, shrink=min(1, 2 / rows), label=label)
    lines = [Line2D([], [], color=color, label=name) for name, color in TYPE_COLORS.items()]
    figure.legend(handles=lines, loc="outside lower right", ncols=3, fontsize=8)
    return figure


def nuclei_effects(
    effects: pd.DataFrame,
    by_type: pd.DataFrame,
    together: pd.DataFrame,
    agreement: pd.DataFrame,
    *,
    title: str = "",
) -> Figure:
    """Draw what single nuclei and whole types do, and whether maps rank nuclei so.

    Parameters
    ----------
    effects : DataFrame
        ``type`` and ``change`` of every nucleus.
    by_type, together, agreement : DataFrame, from `intervals`
        By ``type``: ``change`` and ``control``; ``necessity`` and ``sufficiency``; and by
        ``method``: ``spearman``.
    title : str

    Returns
    -------
    Figure
    """
    figure, (grid,) = style.panels(1, 3, (11, 4), title, width_ratios=[1, 1, 1.3])
    single, whole, ranks = grid
    types = [name for name in TYPE_COLORS if name in set(effects["type"])]
    counts = effects["type"].value_counts()
    dots = {"linestyle": "none", "markersize": 6}
    generator = np.random.default_rng(0)
    for place, name in enumerate(types):
        changes = effects.loc[effects["type"] == name, "change"]
        x = place + generator.uniform(-0.25, 0.25, len(changes))
        single.plot(x, changes, ".", color=TYPE_COLORS[name], markersize=3, alpha=0.4)
    for axes, table, names in ((single, by_type, _SINGLE), (whole, together, _TOGETHER)):
        values = table.replace({"measure": names}).set_index(["measure", "type"])
        looks = dict(zip(names.values(), _LOOKS, strict=True))
        style.draw_intervals(axes, values, looks, types, 0.1, **dots)
    single.set(title="one nucleus removed", ylabel="log-odds of tumor that it adds")
    # Single nuclei may reach much further than their means.
    reach = effects["change"].abs().quantile(0.98)
    single.set_ylim(-1.1 * reach, 1.6 * reach)  # with space for the legend
    whole.margins(y=0.35)
    whole.set(title="all nuclei of a type", ylabel="log-odds of tumor that they add")
    for axes in (single, whole):
        style.set_ticks(axes, [f"{name}\n{counts[name]}" for name in types], rotation=0)
        axes.set_xlabel("type and number of nuclei")
        axes.legend(fontsize=8)
    methods = [name for name in style.methods() if name in set(agreement["method"])]
    ranked = agreement.set_index("method").reindex(methods)
    for place, name in enumerate(methods):
        row, look = ranked.loc[name], style.style_of(name)
        bars = np.abs(np.array([[row["low"]], [row["high"]]]) - row["mean"])
        ranks.errorbar([place], [row["mean"]], bars, **{**look, **dots})
    ranks.set(title="do maps rank nuclei so?", ylabel="rank correlation with removal")
    style.set_ticks(ranks, [style.title_of(name) for name in methods])
    for axes in grid:
        axes.axhline(0, color="#000000", linewidth=0.8, linestyle=":")
        axes.grid(axis="x", visible=False)
    return figure
