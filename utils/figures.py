"""What figures look like: one style, patchworks of images and curves over layers."""

from collections.abc import Mapping, Sequence

import cv2
import matplotlib
import numpy as np
import pandas as pd
from IPython import get_ipython
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet

# Okabe and Ito's colours, which the colour-blind can tell apart, and a marker each.
NETWORK_STYLES = {
    "random": {"color": "#7f7f7f", "marker": "s", "linestyle": ":"},
    "pretrained": {"color": "#0072b2", "marker": "o", "linestyle": "--"},
    "finetuned": {"color": "#d55e00", "marker": "^", "linestyle": "-"},
}
METHOD_STYLES = {
    "gradcam": {"color": "#0072b2", "marker": "o", "linestyle": "-"},
    "gradcam++": {"color": "#d55e00", "marker": "^", "linestyle": "-"},
    "layercam": {"color": "#009e73", "marker": "D", "linestyle": "-"},
    "saliency": {"color": "#cc79a7", "marker": "v", "linestyle": "-"},
    "haematoxylin": {"color": "#56b4e9", "marker": "P", "linestyle": "--"},
    "centre": {"color": "#7f7f7f", "marker": "s", "linestyle": "-."},
    "random": {"color": "#7f7f7f", "marker": "x", "linestyle": ":"},
    "uniform": {"color": "#000000", "marker": "+", "linestyle": ":"},
}
METHOD_TITLES = {
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "saliency": "gradient",
}
_CARD = (3.2, 2.7)  # inches
CARD_INSET = (0.025, 0.14, 0.7, 0.7 * 3.2 / 2.7)  # left, top, width, height, as shares of a card
_R2_FLOOR = -0.25  # where the axis of R2 ends; a few poor fits would squeeze all others
_STYLE = {
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
    # For those who save figures otherwise: with their fonts, and the same bytes each time.
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "figures",
}


def use_style() -> None:
    """Set the style of all figures; in a notebook, show them as JPEG, which keeps it small."""
    matplotlib.rcParams.update(_STYLE)
    if get_ipython() is not None:
        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 75})


def patchwork(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 4,
    title: str = "",
    cell: float = 1.7,
) -> Figure:
    """Lay out images in a grid.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8 or float in [0, 1]
    titles : sequence of str, optional
        One an image.
    columns : int
    title : str
        Of the whole figure.
    cell : float
        Width of an image in inches.
    """
    titles = [""] * len(images) if titles is None else titles
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(cell * columns, (cell + 0.25) * rows + 0.4))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, text in zip(grid.flat, images, titles, strict=False):
        axes.imshow(image)
        axes.set_title(text, fontsize=8)
    figure.suptitle(title)
    return figure


def channel_overview(
    networks: Mapping[str, Mapping[str, np.ndarray]],
    channels: Mapping[str, Sequence[int]],
    *,
    title: str = "",
    cell: float = 0.75,
) -> Figure:
    """Show the same channels of several networks side by side, a layer a row.

    Parameters
    ----------
    networks : mapping of str to (mapping of str to array, (n, H, W, 3))
        Rendered images, by network and layer.
    channels : mapping of str to sequence of int
        Channel numbers, by layer.
    """
    count = max(len(numbers) for numbers in channels.values())
    figure = Figure(
        figsize=(cell * count * len(networks) + 1.2, (cell + 0.2) * len(channels) + 0.6)
    )
    parts = figure.subfigures(1, len(networks), squeeze=False)[0]
    for part, (network, rendered) in zip(parts, networks.items(), strict=True):
        part.suptitle(network)
        grid = part.subplots(len(channels), count, squeeze=False)
        for row, (layer, numbers) in zip(grid, channels.items(), strict=True):
            for axes in row:
                axes.set(xticks=[], yticks=[], frame_on=False)
            for axes, image, number in zip(row, rendered[layer], numbers, strict=False):
                axes.imshow(image)
                axes.set_title(f"{number}", fontsize=7, pad=2)
            row[0].set_ylabel(layer, fontsize=8)
    figure.suptitle(title)
    return figure


def channels_with_patches(
    images: np.ndarray,
    patches: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    title: str = "",
    cell: float = 1.5,
) -> Figure:
    """Show the image of each channel beside the nine patches that excite it most.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8 or float in [0, 1]
    patches : sequence of array, (at most 9, h, w, 3), uint8
        Of each channel, the most exciting first.
    titles : sequence of str
        One a channel.
    """
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2 * cell * columns, (cell + 0.25) * rows + 0.4))
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    pairs = grid.reshape(-1, 2)
    for (left, right), image, nine, text in zip(pairs, images, patches, titles, strict=False):
        left.imshow(image)
        left.set_title(text, fontsize=8)
        right.imshow(montage(nine))
        right.set_title("most exciting patches", fontsize=7)
    figure.suptitle(title)
    return figure


def complexity_by_layer(
    table: pd.DataFrame, measures: Mapping[str, str], title: str = ""
) -> Figure:
    """Draw the complexity of channel images by layer, a panel a measure.

    Parameters
    ----------
    table : DataFrame
        Columns ``layer``, ``measure``, ``network``, ``mean``, ``low``, ``high``, ``n``.
    measures : mapping of str to str
        Titles of the measures, by their names in `table`.
    """
    layers = list(dict.fromkeys(table["layer"]))
    figure = Figure(figsize=(9, 3.4))
    grid = figure.subplots(1, len(measures), squeeze=False)[0]
    for axes, (measure, label) in zip(grid, measures.items(), strict=True):
        for offset, (network, style) in zip((-0.12, 0, 0.12), NETWORK_STYLES.items(), strict=True):
            part = table[(table["measure"] == measure) & (table["network"] == network)]
            if part.empty:
                continue
            part = part.set_index("layer").loc[layers]
            around = np.abs(part[["low", "high"]].sub(part["mean"], axis=0)).T
            where = np.arange(len(layers)) + offset
            axes.errorbar(
                where, part["mean"], around, label=network, markersize=4, capsize=2, **style
            )
        axes.set_xticks(np.arange(len(layers)), layers, rotation=90, fontsize=8)
        axes.set_ylabel(label)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(f"{title} (means and 95 % intervals over {table['n'].max()} channels)")
    return figure


def montage(patches: np.ndarray, side: int = 64) -> np.ndarray:
    """Lay up to nine patches, ``(n, h, w, 3)`` uint8, out in a square, row by row.

    Parameters
    ----------
    side : int
        Of a patch in the square, in pixels.
    """
    canvas = np.full((3 * side, 3 * side, 3), 255, np.uint8)
    for place, patch in enumerate(patches[:9]):
        row, column = divmod(place, 3)
        small = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)
        canvas[row * side : (row + 1) * side, column * side : (column + 1) * side] = small
    return canvas


def explanations(
    images: np.ndarray,
    overlays: Mapping[str, np.ndarray],
    titles: Sequence[str],
    *,
    colormap: str = "jet",
    title: str = "",
    cell: float = 1.35,
) -> Figure:
    """Show patches, a row each, beside their heat maps, with the scale of the maps.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
        Patches, possibly with outlines.
    overlays : mapping of str to array, (N, H, W, 3), uint8
        By method.
    titles : sequence of str
        One a patch.
    """
    figure = Figure(figsize=(cell * (1 + len(overlays)) + 0.8, (cell + 0.25) * len(images) + 0.5))
    grid = figure.subplots(len(images), 1 + len(overlays), squeeze=False)
    for index, row in enumerate(grid):
        for axes in row:
            axes.axis("off")
        row[0].imshow(images[index])
        row[0].set_title(titles[index], fontsize=8, loc="left")  # centred, it would be clipped
        for axes, (method, laid) in zip(row[1:], overlays.items(), strict=True):
            axes.imshow(laid[index])
            axes.set_title(method, fontsize=8)
    scale = figure.colorbar(
        ScalarMappable(cmap=colormap), ax=grid, shrink=min(1, 2 / len(images)), pad=0.02
    )
    scale.set_label("evidence, share of the map's maximum")
    figure.suptitle(title)
    return figure


def overlay_card(laid: np.ndarray, title: str, *, colormap: str = "jet") -> Figure:
    """Show one heat map over its patch, ``(H, W, 3)`` uint8, with the scale of the map.

    The patch lies at `CARD_INSET` of the figure, so that another picture can be laid over it.
    """
    figure = Figure(figsize=_CARD, layout="none")
    left, top, width, height = CARD_INSET
    bottom = 1 - top - height
    axes = figure.add_axes((left, bottom, width, height))
    axes.imshow(laid)
    axes.axis("off")
    axes.set_title(title, fontsize=9, loc="left")
    place = (left + width + 0.03, bottom + 0.05 * height, 0.03, 0.9 * height)
    scale = figure.colorbar(ScalarMappable(cmap=colormap), cax=figure.add_axes(place))
    scale.set_label("share of the maximum", fontsize=8)
    scale.ax.tick_params(labelsize=8)
    return figure


def localization(table: pd.DataFrame, measures: Mapping[str, str], *, title: str = "") -> Figure:
    """Draw measures of heat maps, a panel a measure, with the baselines as lines across.

    Parameters
    ----------
    table : DataFrame
        Columns ``network``, ``method``, ``layer``, ``measure``, ``mean``, ``low``, ``high`` and
        ``groups``; the network is ``""`` for maps of no network.
    measures : mapping of str to str
        The label of each measure.
    """
    own = table[table["network"] != ""]
    places = list(dict.fromkeys(zip(own["method"], own["layer"], strict=True)))
    places.sort(key=lambda place: list(METHOD_STYLES).index(place[0]))
    figure = Figure(figsize=(10, 7.6))
    grid = figure.subplots(2, 2, sharex=True)
    for axes, (measure, label) in zip(grid.flat, measures.items(), strict=True):
        part = table[table["measure"] == measure].set_index(["network", "method", "layer"])
        for method in dict.fromkeys(table.loc[table["network"] == "", "method"]):
            style = METHOD_STYLES[method]
            style = {"color": style["color"], "linestyle": style["linestyle"]}
            axes.axhline(part.loc[("", method, ""), "mean"], label=f"{method} map", **style)
        for offset, (network, style) in zip((-0.2, 0, 0.2), NETWORK_STYLES.items(), strict=True):
            rows = part[part.index.get_level_values("network") == network].droplevel("network")
            if rows.empty:
                continue
            rows = rows.loc[places]
            around = np.abs(rows[["low", "high"]].sub(rows["mean"], axis=0)).to_numpy().T
            dots = {**style, "linestyle": "none", "markersize": 5, "capsize": 2}
            axes.errorbar(
                np.arange(len(places)) + offset, rows["mean"], around, label=network, **dots
            )
        axes.set_title(label)
        axes.set_ylim(bottom=0)
        axes.grid(axis="x", visible=False)
        ticks = [f"{METHOD_TITLES[method]}, {layer}" for method, layer in places]
        axes.set_xticks(np.arange(len(places)), ticks, rotation=90, fontsize=8)
    grid[0, 0].set_ylabel("share of patches")
    grid[0, 1].set_ylabel("ratio; 1 is no better than area")
    for axes in grid[1]:
        axes.set_ylabel("average precision")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.suptitle(f"{title} (means, 95 % intervals over {table['groups'].max()} blocks)")
    return figure


def prediction_curves(curves: pd.DataFrame, areas: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the mean insertion and deletion curves of each method.

    Parameters
    ----------
    curves : DataFrame
        Columns ``method``, ``curve``, ``share``, ``probability``.
    areas : DataFrame
        Columns ``method``, ``measure`` (the curve), ``mean``, ``low``, ``high``.
    """
    figure = Figure(figsize=(10, 4))
    grid = figure.subplots(1, 2, sharey=True)
    for axes, curve in zip(grid, ("insertion", "deletion"), strict=True):
        part = curves[curves["curve"] == curve]
        found = areas[areas["measure"] == curve].set_index("method")
        for method, rows in part.groupby("method", sort=False):
            mean = rows.groupby("share")["probability"].mean()
            area = found.loc[method]
            name = METHOD_TITLES.get(method, f"{method} map")
            label = f"{name}: {area['mean']:.2f} ({area['low']:.2f} to {area['high']:.2f})"
            axes.plot(mean.index, mean, label=label, markersize=4, **METHOD_STYLES[method])
        axes.set(title=curve, xlabel="share of the area, highest evidence first", ylim=(0, 1.02))
        axes.legend(title="area under the curve", fontsize=8, title_fontsize=8)
    grid[0].set_ylabel("probability of tumor")
    figure.suptitle(title)
    return figure


def map_similarity(
    table: pd.DataFrame,
    column: str,
    *,
    baseline: str,
    xlabel: str,
    title: str = "",
    linestyle: str = "-",
) -> Figure:
    """Draw how alike heat maps stay, with that of unrelated maps as a line across.

    Parameters
    ----------
    table : DataFrame
        Columns ``method``, `column`, ``measure`` (spearman, ssim), ``mean``, ``low``, ``high``.
    column : str
        What was changed.
    baseline : str
        The value of `column` whose similarity is that of unrelated maps.
    linestyle : str
        Between the places: ``none`` where they have no order.
    """
    places = [name for name in dict.fromkeys(table[column]) if name != baseline]
    figure = Figure(figsize=(10, 4))
    grid = figure.subplots(1, 2)
    titles = {"spearman": "rank correlation", "ssim": "structural similarity (SSIM)"}
    for axes, (measure, label) in zip(grid, titles.items(), strict=True):
        for index, (method, part) in enumerate(
            table[table["measure"] == measure].groupby("method", sort=False)
        ):
            style = {**METHOD_STYLES[method], "linestyle": linestyle}
            rows = part.set_index(column)
            axes.axhline(rows.loc[baseline, "mean"], color=style["color"], linewidth=0.8, ls=":")
            rows = rows.reindex(places)
            around = np.abs(rows[["low", "high"]].sub(rows["mean"], axis=0)).to_numpy().T
            where = np.arange(len(places)) + 0.1 * index - 0.15
            name = METHOD_TITLES[method]
            axes.errorbar(where, rows["mean"], around, label=name, markersize=4, capsize=2, **style)
        axes.set(title=f"{label} with the original map", xlabel=xlabel)
        axes.set_xticks(np.arange(len(places)), places, rotation=45, ha="right", fontsize=8)
    grid[0].set_ylabel(f"mean (dotted: {baseline})")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(title)
    return figure


def outlined(patches: PatchSet) -> dict[str, np.ndarray]:
    """Draw the outlines of neoplastic nuclei, in yellow, on copies of the patches.

    Returns
    -------
    dict of str to array, (N, H, W, 3), uint8
        By a title for a column of `explanations`; empty if the patches have no masks.
    """
    if patches.masks is None:
        return {}
    images = patches.images.copy()
    for image, mask in zip(images, patches.masks, strict=True):
        if (mask == UNANNOTATED).any():
            image[:] = 235
            place = (10, image.shape[0] // 2)
            cv2.putText(image, "not annotated", place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (90, 90, 90))
            continue
        neoplastic = np.uint8(mask == NEOPLASTIC)
        contours, _ = cv2.findContours(neoplastic, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(image, contours, -1, (255, 255, 0), 2)
    return {"neoplastic nuclei": images}


def measures_overview(
    measures: pd.DataFrame, labels: np.ndarray, class_names: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw the distribution of every measure by class, and how measures correlate.

    Parameters
    ----------
    measures : DataFrame, N rows
        A column a concept.
    labels : array, (N,)
        Index into `class_names`.
    """
    figure = Figure(figsize=(10, 4.6))
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    rows = -(-len(measures.columns) // 3)
    grid = left.subplots(rows, 3, squeeze=False)
    for axes in list(grid.flat)[len(measures.columns) :]:
        axes.axis("off")
    for axes, (name, values) in zip(grid.flat, measures.items(), strict=False):
        edges = np.histogram_bin_edges(values, 24)
        for label, color in zip(np.unique(labels), ("#0072b2", "#d55e00"), strict=False):
            part = values[labels == label]
            axes.hist(part, edges, color=color, alpha=0.6, label=class_names[label])
        axes.set_title(name)
        axes.tick_params(labelsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("patches")
    handles, names = grid[0, 0].get_legend_handles_labels()
    left.legend(handles, names, loc="outside lower center", ncols=len(names))
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
    """Draw R2 by layer, a row a concept: in-sample as in the paper, and held out beside it.

    Parameters
    ----------
    in_sample : DataFrame
        `utils.rcv.in_sample_r2` of several networks, with a column ``network``.
    held_out : DataFrame
        `utils.rcv.r2_table` of the same. Rows of a network that differ in a column ``seed`` are
        drawn as their mean, with the widest interval.
    """
    concepts = list(dict.fromkeys(held_out["concept"]))
    layers = list(dict.fromkeys(held_out["layer"]))
    where = np.arange(len(layers))
    figure = Figure(figsize=(10, 2.1 * len(concepts) + 1.2))
    grid = figure.subplots(len(concepts), 2, sharex=True, sharey=True, squeeze=False)
    for (left, right), concept in zip(grid, concepts, strict=True):
        held = held_out[held_out["concept"] == concept]
        null = held.groupby("layer").agg({"null_low": "min", "null_high": "max"}).loc[layers]
        band = {"color": "#000000", "alpha": 0.18, "linewidth": 0, "label": "regions exchanged"}
        right.fill_between(where, null["null_low"], null["null_high"], **band)
        for network, style in NETWORK_STYLES.items():
            part = in_sample[(in_sample["concept"] == concept) & (in_sample["network"] == network)]
            rows = held[held["network"] == network].groupby("layer")
            if part.empty:
                continue
            part = part.groupby("layer")[["r2", "adjusted_r2"]].mean().loc[layers]
            left.plot(where, part["r2"], label=network, markersize=4, **style)
            hollow = {**style, "linestyle": "none", "markerfacecolor": "none", "markersize": 7}
            left.plot(where, part["adjusted_r2"], **hollow)
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
    grid[0, 1].set_title("R², held out, 95 % intervals over regions")
    handles, names = grid[0, 1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    figure.suptitle(title)
    return figure


def learning_curves(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw held-out R2 by the number of training patches, a panel a layer, mean over concepts.

    Parameters
    ----------
    table : DataFrame
        `utils.rcv.learning_curve` of several networks, with a column ``network``.
    """
    layers = list(dict.fromkeys(table["layer"]))
    figure = Figure(figsize=(10, 3.4))
    grid = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(grid, layers, strict=True):
        for network, style in NETWORK_STYLES.items():
            part = table[(table["layer"] == layer) & (table["network"] == network)]
            if not part.empty:
                curve = part.groupby("patches")["r2"].mean()
                axes.plot(curve.index, curve, label=network, markersize=4, **style)
        axes.set(title=layer, xlabel="training patches")
    grid[0].set_ylim(top=1.05)  # shared, and only now that all curves are drawn
    grid[0].set_ylabel("R², held out, mean of concepts")
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    figure.suptitle(title)
    return figure


def relevance_map(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the bidirectional relevance of each concept and layer, a panel a network.

    Parameters
    ----------
    table : DataFrame
        `utils.rcv.relevance` of several networks, with a column ``network``.
    """
    networks = list(dict.fromkeys(table["network"]))
    layers = list(dict.fromkeys(table["layer"]))
    concepts = list(dict.fromkeys(table["concept"]))
    limit = table["br"].abs().max() or 1
    figure = Figure(figsize=(10, 0.42 * len(concepts) + 2.4))
    grid = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, network in zip(grid, networks, strict=True):
        part = table[table["network"] == network].set_index(["concept", "layer"])
        values = part["br"].unstack("layer").loc[concepts, layers]
        shown = axes.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
        sure = (part[["q_random", "q_shuffled"]].max(axis=1) < 0.05).unstack("layer")
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
        f"{title}\n(*: beyond random directions and shuffled concepts, q < 0.05; "
        "grey: the logit is linear in the layer)"
    )
    return figure


def reuse(
    held_out: pd.DataFrame, cka: pd.DataFrame, change: pd.DataFrame, *, title: str = ""
) -> Figure:
    """Draw what is readable, what is kept and what has changed, by layer, one above the other.

    Parameters
    ----------
    held_out : DataFrame
        As in `r2_panels`; the mean over concepts is drawn.
    cka : DataFrame
        From `utils.similarity.cka_by_layer`.
    change : DataFrame
        From `utils.similarity.weight_change`.
    """
    layers = list(dict.fromkeys(held_out["layer"]))
    where = np.arange(len(layers))
    figure = Figure(figsize=(8, 8.4))
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    for network, style in NETWORK_STYLES.items():
        part = held_out[held_out["network"] == network]
        if not part.empty:
            mean = part.groupby("layer")["r2"].mean().loc[layers]
            top.plot(where, mean, label=network, markersize=5, **style)
    top.set_ylabel("R² of texture, held out,\nmean of measures")
    top.set_ylim(top=1.05)
    top.legend(ncols=3, loc="lower left")
    styles = {
        ("pretrained", "finetuned"): NETWORK_STYLES["finetuned"],
        ("pretrained", "random"): NETWORK_STYLES["random"],
    }
    for (one, other), part in cka.groupby(["one", "other"], sort=False):
        rows = part.set_index("layer").loc[layers]
        style = styles.get((one, other), {"color": "#009e73", "marker": "D", "linestyle": "-."})
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
