"""Figures of concepts by layer: R2, relevance, and what finetuning keeps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils.results.figures import style

# Of transplanted layers, in the order of the legend.
_VARIANTS = {
    "block set back": {"color": "#56b4e9", "marker": "X", "linestyle": "-"},
    "block shuffled": {"color": "#009e73", "marker": "D", "linestyle": "-."},
    "finetuned above": {"color": "#000000", "marker": "*", "linestyle": "--"},
    "finetuned below": {"color": "#e69f00", "marker": "P", "linestyle": ":"},
}
_R2_FLOOR = -0.25  # where the axis of R2 ends; otherwise a few poor fits flatten all other curves


def measures_overview(
    measures: pd.DataFrame, labels: np.ndarray, class_names: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw the distribution of every measure (column) by class, and how measures correlate."""
    figure = Figure((10, 4.6))
    figure.suptitle(f"{title} ({len(measures)} patches)")
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    grid = left.subplots(-(-len(measures.columns) // 3), 3, squeeze=False)
    for axes in grid.flat[len(measures.columns) :]:
        axes.axis("off")
    for axes, (name, values) in zip(grid.flat, measures.items(), strict=False):
        edges = np.histogram_bin_edges(values, 24)
        for label, color in zip(np.unique(labels), ("#0072b2", "#d55e00"), strict=False):
            of_class = values[labels == label]
            axes.hist(of_class, edges, color=color, alpha=0.6, label=class_names[label])
        axes.set_title(name)
        axes.tick_params(labelsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("patches")
    style.legend_below(left, grid[0, 0])
    axes, correlation = right.subplots(), measures.corr()
    image = style.show_matrix(axes, correlation, 1)
    for (row, column), value in np.ndenumerate(correlation):
        color = "white" if abs(value) > 0.6 else "black"
        axes.text(column, row, f"{value:.2f}", fontsize=7, color=color, **style.CENTRED)
    axes.tick_params(labelsize=8)
    axes.set_title("correlation of the measures")
    right.colorbar(image, ax=axes, shrink=0.7)
    return figure


def r2_panels(
    in_sample: pd.DataFrame, held_out: pd.DataFrame, baselines: pd.DataFrame, *, title: str = ""
) -> Figure:
    """Draw R2 by layer, one row per concept: in-sample as in the paper, and held out beside it.

    The tables are those of `utils.concepts` with a column ``network``. Held-out rows that differ
    in a column ``seed`` are drawn as their mean, with the widest interval. Baselines, named in the
    column ``layer``, are horizontal lines.
    """
    concepts, layers = held_out["concept"].unique(), held_out["layer"].unique()
    places = range(len(layers))
    keys = ["concept", "network", "layer"]
    fits = in_sample.groupby(keys)[["r2", "adjusted_r2"]].mean()
    widest = {"low": "min", "high": "max", "null_low": "min", "null_high": "max"}
    tests = held_out.groupby(keys).agg({"r2": "mean", **widest})
    null = tests.groupby(["concept", "layer"]).agg({"null_low": "min", "null_high": "max"})
    size = 10, 2.1 * len(concepts) + 1.2
    figure, grid = style.panels(len(concepts), 2, size, title, sharex=True, sharey=True)
    for (left, right), concept in zip(grid, concepts, strict=True):
        band = null.loc[concept].loc[layers]
        options = {"color": "#000000", "alpha": 0.18, "linewidth": 0, "label": "permuted groups"}
        right.fill_between(places, band["null_low"], band["null_high"], **options)
        for network, line in style.network_styles(held_out["network"]).items():
            rows = fits.loc[concept, network].loc[layers]
            left.plot(places, rows["r2"], label=network, **line)
            hollow = {"linestyle": "none", "markerfacecolor": "none", "markersize": 7}
            left.plot(places, rows["adjusted_r2"], **line | hollow)
            rows = tests.loc[concept, network].loc[layers]
            right.plot(places, rows["r2"], label=network, **line)
            color = line["color"]
            right.fill_between(places, rows["low"], rows["high"], color=color, **style.BAND)
            for place, value in enumerate(rows["r2"]):
                if value < _R2_FLOOR:  # below the axis: say how far
                    text = {"color": color, "fontsize": 7, "ha": "center"}
                    right.text(place, _R2_FLOOR + 0.02, f"↓{value:.1f}", **text)
        for row in baselines[baselines["concept"] == concept].itertuples():
            height = max(row.r2, _R2_FLOOR + 0.01)
            right.axhline(height, color="#cc79a7", linestyle="-.", linewidth=1.5, label=row.layer)
        left.set(ylim=(_R2_FLOOR, 1.05), ylabel=concept)
        for axes in (left, right):
            style.set_ticks(axes, layers)
    grid[0, 0].set_title("R², in-sample (hollow: adjusted, where there is one)")
    grid[0, 1].set_title("R², held out, 95 % intervals over groups")
    style.legend_below(figure, grid[0, 1])
    return figure


def learning_curves(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw held-out R2 by the number of training patches, one panel per layer, mean over concepts.

    The table is that of `utils.concepts.learning_curve` with a column ``network``.
    """
    layers = table["layer"].unique()
    means = table.groupby(["layer", "network", "patches"])["r2"].mean()
    figure, (grid,) = style.panels(1, len(layers), (10, 3.4), title, sharey=True)
    for axes, layer in zip(grid, layers, strict=True):
        for network, line in style.network_styles(table["network"]).items():
            axes.plot(means[layer, network], label=network, **line)
        axes.set(title=layer, xlabel="training patches")
    grid[0].set_ylim(top=1.05)  # shared, and only now that all curves are drawn
    grid[0].set_ylabel("R², held out, mean of concepts")
    style.legend_below(figure, grid[0])
    return figure


def relevance_map(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the bidirectional relevance of each concept and layer, one panel per network.

    The table is that of `utils.concepts.relevance` with a column ``network``.
    """
    networks, layers, concepts = (table[name].unique() for name in ("network", "layer", "concept"))
    limit = table["br"].abs().max() or 1
    stars = "*: beyond random directions and permuted concepts, q < 0.05"
    title += f"\n({stars}; grey: the logit is linear in the layer)"
    size = 10, 0.42 * len(concepts) + 2.4
    figure, (grid,) = style.panels(1, len(networks), size, title, sharey=True)
    for axes, network in zip(grid, networks, strict=True):
        rows = table[table["network"] == network].set_index(["concept", "layer"])
        values = rows["br"].unstack("layer").loc[concepts, layers]
        image = style.show_matrix(axes, values, limit, aspect="auto")
        significant = (rows.filter(regex="^q_").max(axis=1) < 0.05).unstack("layer")
        for row, column in np.argwhere(significant.loc[concepts, layers]):
            axes.text(column, row, "*", fontsize=12, **style.CENTRED)
        axes.set_facecolor("#b0b0b0")
        axes.set_title(network)
    figure.colorbar(image, ax=grid, shrink=0.8, label="bidirectional relevance")
    return figure


def _panel_per_concept(
    concepts: Sequence[str], title: str, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure with two panels side by side, whose layers are named in the lowest ones."""
    rows = -(-len(concepts) // 2)
    size = 10, 2.6 * rows + 1
    figure, grid = style.panels(rows, 2, size, title, sharex=True, **options)
    for axes in grid.flat[len(concepts) :]:
        axes.axis("off")
    for axes in grid.flat[max(0, len(concepts) - 2) : len(concepts)]:
        axes.tick_params(labelbottom=True)
    return figure, grid


def concept_effects(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the change of the logit for one deviation of each concept, by layer and network.

    The table is that of `utils.concepts.relevance` with a column ``network``, with the means of
    each class. Networks of several seeds are drawn as the first of them.
    """
    concepts, layers = table["concept"].unique(), table["layer"].unique()
    figure, grid = _panel_per_concept(concepts, f"{title}\n(×: normal patches, +: tumor patches)")
    names = {"size": "mean", "size_low": "low", "size_high": "high"}
    keys = ["concept", "network", "layer"]
    values = table[table["seed"] == 0].drop(columns=["low", "high"]).rename(columns=names)
    values = values.set_index(keys).sort_index()
    by_class = [name for name in table if name.startswith("size_class_")]
    for axes, concept in zip(grid.flat, concepts, strict=False):
        rows, lines = values.loc[concept], style.network_styles(table["network"])
        style.draw_intervals(axes, rows, lines, layers, 0.12)
        for network, line in lines.items():
            for name, marker in zip(by_class, ("x", "+"), strict=False):
                heights = rows.loc[network, name].reindex(layers)
                options = {"color": line["color"], "marker": marker, "alpha": 0.7, "s": 18}
                axes.scatter(range(len(layers)), heights, **options)
        axes.axhline(0, color="#000000", linewidth=0.8, linestyle=":")
        axes.set_title(concept)
        style.set_ticks(axes, layers)
    figure.supylabel("change of the log-odds of tumor\nper standard deviation", fontsize=10)
    style.legend_below(figure, grid[0, 0])
    return figure


def entanglement(
    whole: pd.DataFrame, partial: pd.DataFrame, *, title: str = "", floor: float = _R2_FLOOR
) -> Figure:
    """Draw R2 of each concept, and of what the others do not explain of it, by layer and network.

    The tables are those of `utils.concepts.cross_validated_r2` and `utils.concepts.partial_r2` with
    a column ``network``.
    """
    concepts, layers = partial["concept"].unique(), partial["layer"].unique()
    figure, grid = _panel_per_concept(concepts, title, sharey=True)
    keys = ["concept", "network", "layer"]
    tables = [table.groupby(keys)["r2"].mean() for table in (whole, partial)]
    for axes, concept in zip(grid.flat, concepts, strict=False):
        for network, line in style.network_styles(partial["network"]).items():
            for values, text, looks in zip(
                tables, ("", ", beyond the others"), ({}, {"markerfacecolor": "none"}), strict=True
            ):
                heights = values[concept, network].loc[layers].clip(lower=floor)
                line = line | ({"linestyle": ":"} if text else {"linestyle": "-"}) | looks
                axes.plot(range(len(layers)), heights, label=f"{network}{text}", **line)
        axes.set_title(concept)
        style.set_ticks(axes, layers)
    grid[0, 0].set_ylim(floor - 0.02, 1.05)
    for axes in grid[:, 0]:
        axes.set_ylabel("R², held out")
    style.legend_below(figure, grid[0, 0])
    return figure


def tumor_by_layer(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the balanced accuracy of a linear head on each layer, by network.

    The table is that of `utils.concepts.tumor_by_layer`; networks such as ``random 2`` are drawn as
    the mean of their kind, with the widest interval.
    """
    layers = list(table["layer"].unique())
    kinds = table.assign(network=table["network"].str.replace(r" \d+$", "", regex=True))
    ends = {"balanced_accuracy": "mean", "low": "min", "high": "max"}
    means = kinds.groupby(["network", "layer"], sort=False).agg(ends)
    means = means.rename(columns={"balanced_accuracy": "mean"})
    figure, ((axes,),) = style.panels(1, 1, (8, 4), title)
    style.draw_intervals(axes, means, style.network_styles(kinds["network"]), layers, 0.15)
    style.set_ticks(axes, layers)
    axes.axhline(0.5, color="#000000", linewidth=0.8, linestyle=":")
    axes.set_ylim(0, 1.05)  # where intervals reach further, they mean no less than all
    axes.set_ylabel("balanced accuracy of a linear head\n(dotted: chance)")
    style.legend_below(figure, axes)
    return figure


def reuse(
    held_out: pd.DataFrame, cka: pd.DataFrame, transplants: pd.DataFrame, *, title: str = ""
) -> Figure:
    """Draw held-out R2, CKA with the pretrained network, and where finetuning matters, by layer.

    The tables are `held_out` as in `r2_panels`, of which the mean over concepts is drawn, and
    those of `utils.concepts.cka_by_layer` and `utils.concepts.reuse_by_layer`.
    """
    layers = list(held_out["layer"].unique())
    places = range(len(layers))
    figure, grid = style.panels(3, 1, (8, 9.4), title, sharex=True)
    top, middle, bottom = grid[:, 0]
    means = held_out.groupby(["network", "layer"])["r2"].mean()
    for network, line in style.network_styles(held_out["network"]).items():
        top.plot(places, means[network][layers], label=network, markersize=5, **line)
    top.set_ylabel("R² of texture, held out,\nmean of measures")
    top.set_ylim(max(_R2_FLOOR, means.min() - 0.05), 1.05)
    top.legend(ncols=3, loc="lower left")
    for (one, other), rows in cka.groupby(["one", "other"], sort=False):
        rows, pair = rows.set_index("layer").loc[layers], f"{one} and {other}"
        line = style.style_of(other if one == "pretrained" else pair)
        middle.plot(places, rows["cka"], label=pair, markersize=5, **line)
        middle.fill_between(places, rows["low"], rows["high"], color=line["color"], **style.BAND)
    middle.set(ylabel="linear CKA, unbiased", ylim=(-0.1, 1.05))
    middle.legend(loc="lower left")
    values = transplants.rename(columns={"margin": "mean"}).set_index(["variant", "layer"])
    for network in ("finetuned", "pretrained"):  # left alone
        color = style.NETWORK_STYLES[network]["color"]
        whole = values.loc[(network, ""), "mean"]
        bottom.axhline(whole, color=color, linestyle="--", linewidth=1, label=f"{network}, whole")
    style.draw_intervals(bottom, values, _VARIANTS, layers, 0.15)
    bottom.set_ylabel("log-odds of the patch's class,\nunseen patches of tumour images")
    bottom.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    style.set_ticks(bottom, layers)
    return figure
