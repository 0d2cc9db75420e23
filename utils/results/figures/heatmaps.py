"""Figures of heat maps and of their evaluation."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.results.figures.style import METHOD_STYLES, METHOD_TITLES, NETWORK_STYLES

COLORMAPS = {"jet": cv2.COLORMAP_JET, "cividis": cv2.COLORMAP_CIVIDIS}


def overlay(
    images: np.ndarray, maps: np.ndarray, *, colormap: str = "jet", opacity: float = 0.4
) -> np.ndarray:
    """Lay heat maps over patches.

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
    maps : array, (N, H, W), float32 in [0, 1]
    colormap : str
        ``jet``, as in the paper, or ``cividis``, which the colour-blind can read.
    opacity : float
        Weight of the map, in [0, 1].

    Returns
    -------
    array, (N, H, W, 3), uint8
    """
    if colormap not in COLORMAPS:
        raise ValueError(f"colormap is {colormap!r}; expected one of {', '.join(COLORMAPS)}.")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}; expected a number in [0, 1].")
    if maps.shape != images.shape[:3]:
        raise ValueError(f"maps have the shape {maps.shape}, images {images.shape}: they differ.")
    laid = []
    for image, heat in zip(images, maps, strict=True):
        colors = cv2.applyColorMap(np.uint8(np.round(255 * heat)), COLORMAPS[colormap])
        colors = cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)
        laid.append(cv2.addWeighted(colors, opacity, image, 1 - opacity, 0))
    return np.stack(laid)


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


_CARD = (3.2, 2.7)  # inches
CARD_INSET = (0.025, 0.14, 0.7, 0.7 * 3.2 / 2.7)  # left, top, width, height, as shares of a card


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
