"""Figures of concepts by layer: R2, relevance, and what finetuning keeps."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils.results.figures.style import legend_below, network_styles, pair_style

_R2_FLOOR = -0.25  # where the axis of R2 ends; otherwise a few poor fits flatten all other curves


def measures_overview(
    measures: pd.DataFrame, labels: np.ndarray, class_names: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw the distribution of every measure (column) by class, and how measures correlate."""
    figure = Figure(figsize=(10, 4.6))
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    rows = -(-len(measures.columns) // 3)
    grid = left.subplots(rows, 3, squeeze=False)
    for axes in list(grid.flat)[len(measures.columns) :]:
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
    legend_below(left, grid[0, 0])
    axes = right.subplots()
    correlation = measures.corr().to_numpy()
    shown = axes.imshow(correlation, cmap="PuOr", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(correlation):
        color = "white" if abs(value) > 0.6 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    axes.grid(False)
    axes.set_xticks(range(len(correlation)), measures.columns, rotation=90, fontsize=8)
    axes.set_yticks(range(len(correlation)), measures.columns, fontsize=8)
    axes.set_title("correlation of the measures")
    right.colorbar(shown, ax=axes, shrink=0.7)
    figure.suptitle(f"{title} ({len(measures)} patches)")
    return figure


def r2_panels(in_sample: pd.DataFrame, held_out: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw R2 by layer, one row per concept: in-sample as in the paper, and held out beside it.

    The tables are those of `utils.concepts` with a column ``network``. Held-out rows that differ
    in a column ``seed`` are drawn as their mean, with the widest interval.
    """
    concepts = list(dict.fromkeys(held_out["concept"]))
    layers = list(dict.fromkeys(held_out["layer"]))
    where = np.arange(len(layers))
    both = [name for name in held_out["network"].unique() if name in set(in_sample["network"])]
    styles = network_styles(both)
    figure = Figure(figsize=(10, 2.1 * len(concepts) + 1.2))
    grid = figure.subplots(len(concepts), 2, sharex=True, sharey=True, squeeze=False)
    for (left, right), concept in zip(grid, concepts, strict=True):
        held = held_out[held_out["concept"] == concept]
        null = held.groupby("layer").agg({"null_low": "min", "null_high": "max"}).loc[layers]
        band = {"color": "#000000", "alpha": 0.18, "linewidth": 0, "label": "groups exchanged"}
        right.fill_between(where, null["null_low"], null["null_high"], **band)
        for network, style in styles.items():
            fits = in_sample[(in_sample["concept"] == concept) & (in_sample["network"] == network)]
            fits = fits.groupby("layer")[["r2", "adjusted_r2"]].mean().loc[layers]
            left.plot(where, fits["r2"], label=network, markersize=4, **style)
            hollow = {**style, "linestyle": "none", "markerfacecolor": "none", "markersize": 7}
            left.plot(where, fits["adjusted_r2"], **hollow)
            rows = held[held["network"] == network].groupby("layer")
            rows = rows.agg({"r2": "mean", "low": "min", "high": "max"}).loc[layers]
            right.plot(where, rows["r2"], label=network, markersize=4, **style)
            shade = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
            right.fill_between(where, rows["low"], rows["high"], **shade)
            for x, value in zip(where, rows["r2"], strict=True):
                if value < _R2_FLOOR:  # below the axis: say how far
                    text = {"color": style["color"], "fontsize": 7, "ha": "center"}
                    right.text(x, _R2_FLOOR + 0.02, f"↓{value:.1f}", **text)
        left.set(ylim=(_R2_FLOOR, 1.05), ylabel=concept)
        for axes in (left, right):
            axes.set_xticks(where, layers, rotation=90, fontsize=8)
    grid[0, 0].set_title("R², in-sample (hollow: adjusted, where there is one)")
    grid[0, 1].set_title("R², held out, 95 % intervals over groups")
    legend_below(figure, grid[0, 1])
    figure.suptitle(title)
    return figure


def learning_curves(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw held-out R2 by the number of training patches, one panel per layer, mean over concepts.

    The table is that of `utils.concepts.learning_curve` with a column ``network``.
    """
    layers = list(dict.fromkeys(table["layer"]))
    figure = Figure(figsize=(10, 3.4))
    grid = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(grid, layers, strict=True):
        for network, style in network_styles(table["network"]).items():
            rows = table[(table["layer"] == layer) & (table["network"] == network)]
            curve = rows.groupby("patches")["r2"].mean()
            axes.plot(curve.index, curve, label=network, markersize=4, **style)
        axes.set(title=layer, xlabel="training patches")
    grid[0].set_ylim(top=1.05)  # shared, and only now that all curves are drawn
    grid[0].set_ylabel("R², held out, mean of concepts")
    legend_below(figure, grid[0])
    figure.suptitle(title)
    return figure


def relevance_map(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the bidirectional relevance of each concept and layer, one panel per network.

    The table is that of `utils.concepts.relevance` with a column ``network``.
    """
    networks = list(dict.fromkeys(table["network"]))
    layers = list(dict.fromkeys(table["layer"]))
    concepts = list(dict.fromkeys(table["concept"]))
    limit = table["br"].abs().max() or 1
    figure = Figure(figsize=(10, 0.42 * len(concepts) + 2.4))
    grid = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, network in zip(grid, networks, strict=True):
        rows = table[table["network"] == network].set_index(["concept", "layer"])
        values = rows["br"].unstack("layer").loc[concepts, layers]
        shown = axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
        sure = (rows.filter(regex="^q_").max(axis=1) < 0.05).unstack("layer")
        for (row, column), value in np.ndenumerate(sure.loc[concepts, layers].to_numpy()):
            if value:
                axes.text(column, row, "*", ha="center", va="center", fontsize=12)
        axes.grid(False)
        axes.set_facecolor("#b0b0b0")
        axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=8)
        axes.set_yticks(range(len(concepts)), concepts)
        axes.set_title(network)
    scale = figure.colorbar(shown, ax=grid, shrink=0.8)
    scale.set_label("bidirectional relevance")
    figure.suptitle(
        f"{title}\n(*: beyond random directions and permuted concepts, q < 0.05; "
        "grey: the logit is linear in the layer)"
    )
    return figure


def reuse(
    held_out: pd.DataFrame, cka: pd.DataFrame, change: pd.DataFrame, *, title: str = ""
) -> Figure:
    """Draw held-out R2, CKA with the pretrained network and change of the kernels, by layer.

    The tables are `held_out` as in `r2_panels`, of which the mean over concepts is drawn, and
    those of `utils.concepts.cka_by_layer` and `utils.concepts.weight_change`.
    """
    layers = list(dict.fromkeys(held_out["layer"]))
    where = np.arange(len(layers))
    figure = Figure(figsize=(8, 8.4))
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    for network, style in network_styles(held_out["network"]).items():
        rows = held_out[held_out["network"] == network]
        mean = rows.groupby("layer")["r2"].mean().loc[layers]
        top.plot(where, mean, label=network, markersize=5, **style)
    top.set_ylabel("R² of texture, held out,\nmean of measures")
    top.set_ylim(top=1.05)
    top.legend(ncols=3, loc="lower left")
    for (one, other), rows in cka.groupby(["one", "other"], sort=False):
        rows, style = rows.set_index("layer").loc[layers], pair_style(one, other)
        middle.plot(where, rows["cka"], label=f"{one} and {other}", markersize=5, **style)
        shade = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
        middle.fill_between(where, rows["low"], rows["high"], **shade)
    middle.set(ylabel="linear CKA, unbiased", ylim=(-0.1, 1.05))
    middle.legend(loc="lower left")
    rows = change.set_index("layer").reindex(layers)
    bottom.bar(where, rows["relative_change"], color="#0072b2")
    bottom.set_ylabel("change of the kernels\nby finetuning, relative")
    bottom.set_xticks(where, layers, rotation=90, fontsize=8)
    figure.suptitle(title)
    return figure
