"""Figures of heat maps and of their evaluation."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.results.figures import style

_COLORMAPS = {"jet": (0, 1), "cividis": (0, 1), "PuOr_r": (-1, 1)}  # and the range of the maps
CURVES = {  # what is done to the pixels, and in which order of evidence
    "insertion": "insertion, highest first",
    "deletion": "deletion, highest first",
    "highest": "removed and imputed, highest first",
    "lowest": "removed and imputed, lowest first",
}
_CARD = (3.2, 2.7)  # inches
CARD_INSET = (0.025, 0.14, 0.7, 0.7 * 3.2 / 2.7)  # left, top, width, height, as shares of a card


def overlay(
    images: np.ndarray, maps: np.ndarray, *, colormap: str = "jet", opacity: float = 0.4
) -> np.ndarray:
    """Overlay heat maps, ``(N, H, W)``, on patches, ``(N, H, W, 3)`` uint8.

    The paper's colormap is ``jet``, the colour-blind can read ``cividis``, both for maps in [0, 1];
    ``PuOr_r`` is for signed maps in [-1, 1].
    """
    scale = _scale(colormap)
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}; expected a number in [0, 1].")
    if maps.shape != images.shape[:3]:
        raise ValueError(f"maps have the shape {maps.shape}, images {images.shape}: they differ.")
    low, high = scale.get_clim()
    if not np.isfinite(maps).all() or maps.min() < low or maps.max() > high:
        raise ValueError(
            f"maps lie in [{maps.min():g}, {maps.max():g}]; expected finite values in "
            f"[{low:g}, {high:g}] for {colormap}. For signed maps take PuOr_r."
        )
    overlays = []
    for image, heat in zip(images, maps, strict=True):
        colors = scale.to_rgba(heat, bytes=True)[..., :3]
        overlays.append(cv2.addWeighted(colors, opacity, image, 1 - opacity, 0))
    return np.stack(overlays)


def _scale(colormap: str) -> ScalarMappable:
    if colormap not in _COLORMAPS:
        raise ValueError(f"colormap is {colormap!r}; expected one of {', '.join(_COLORMAPS)}.")
    return ScalarMappable(Normalize(*_COLORMAPS[colormap]), colormap)


def outline_neoplastic(patches: PatchSet) -> np.ndarray | None:
    """Outline neoplastic nuclei, in yellow, on copies of the patches; None without any masks."""
    if patches.masks is None:
        return None
    images = patches.images.copy()
    for image, mask in zip(images, patches.masks, strict=True):
        if (mask == UNANNOTATED).any():
            image[:] = 235
            place = (10, image.shape[0] // 2)
            cv2.putText(image, "not annotated", place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (90, 90, 90))
        else:
            neoplastic = np.uint8(mask == NEOPLASTIC)
            contours, _ = cv2.findContours(neoplastic, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            cv2.drawContours(image, contours, -1, (255, 255, 0), 2)
    return images


def explanations(
    images: np.ndarray,
    overlays: Mapping[str, np.ndarray],
    titles: Sequence[str],
    *,
    outlines: np.ndarray | None = None,
    colormap: str = "jet",
    title: str = "",
) -> Figure:
    """Show patches, one per row, beside their overlays by method, with the scale of the maps.

    The last column shows the `outlines` of neoplastic nuclei, where given.
    """
    columns = {style.title_of(method): pictures for method, pictures in overlays.items()}
    if outlines is not None:
        columns["neoplastic nuclei"] = outlines
    rows, count = len(images), 1 + len(columns)
    size = 1.35 * count + 0.8, 1.6 * rows + 0.5
    figure, grid = style.panels(rows, count, size, title, subplot_kw=style.BARE)
    for index, (first, *others) in enumerate(grid):
        # A title in the centre would be clipped.
        style.show_image(first, images[index], titles[index], loc="left")
        for axes, (name, pictures) in zip(others, columns.items(), strict=True):
            style.show_image(axes, pictures[index], name)
    options = {"shrink": min(1, 2 / rows), "label": "evidence, share of the map's maximum"}
    figure.colorbar(_scale(colormap), ax=grid, pad=0.02, **options)
    return figure


def overlay_card(picture: np.ndarray, title: str, *, colormap: str = "jet") -> Figure:
    """Show one heat map over its patch, ``(H, W, 3)`` uint8, with the scale of the map.

    The patch lies at `CARD_INSET` of the figure, so that a page can overlay another picture.
    """
    figure = Figure(_CARD, layout="none")
    left, top, width, height = CARD_INSET
    bottom = 1 - top - height
    axes = figure.add_axes((left, bottom, width, height), **style.BARE)
    style.show_image(axes, picture, title, fontsize=9, loc="left")
    place = (left + width + 0.03, bottom + 0.05 * height, 0.03, 0.9 * height)
    scale = figure.colorbar(_scale(colormap), cax=figure.add_axes(place))
    scale.set_label("share of the maximum", fontsize=8)
    scale.ax.tick_params(labelsize=8)
    return figure


def localization(
    table: pd.DataFrame, measures: Mapping[str, tuple[str, str]], *, title: str = ""
) -> Figure:
    """Draw measures of heat maps, one panel per measure, with the baselines as lines across.

    Columns: ``network`` (empty for baselines), ``method``, ``layer``, ``measure``, ``mean``,
    ``low``, ``high`` and ``groups``; `measures` names title and unit.
    """
    is_baseline = table["network"] == ""
    order = list(dict.fromkeys([*style.methods(), *table["method"]]))
    maps = pd.MultiIndex.from_frame(table.loc[~is_baseline, ["method", "layer"]]).unique()
    maps = sorted(maps, key=lambda name: order.index(name[0]))
    styles = style.network_styles(table.loc[~is_baseline, "network"])
    dots = {"linestyle": "none", "markersize": 5}
    height = -(-len(measures) // 2)
    groups = "to".join(f" {n} " for n in np.unique([table["groups"].min(), table["groups"].max()]))
    title = f"{title} (means, 95 % intervals over{groups}groups)"
    figure, grid = style.panels(height, 2, (10, 3.8 * height), title, sharex=True)
    if len(measures) % 2:
        grid[-1, 1].axis("off")
        grid[max(height - 2, 0), 1].tick_params(labelbottom=True)
    by_measure = table.set_index(["measure", "network", "method", "layer"]).sort_index()
    for axes, (measure, (label, unit)) in zip(grid.flat, measures.items(), strict=False):
        values = by_measure.loc[measure]
        for method in table.loc[is_baseline, "method"].unique():
            line = {key: style.style_of(method)[key] for key in ("color", "linestyle")}
            mean = values.loc[("", method, ""), "mean"]
            axes.axhline(mean, label=style.title_of(method), **line)
        style.draw_intervals(axes, values, styles, maps, 0.2, **dots)
        style.set_ticks(axes, [f"{style.title_of(method)}, {layer}" for method, layer in maps])
        axes.set(title=label, ylabel=unit)
        axes.set_ylim(bottom=0)
        axes.grid(axis="x", visible=False)
    style.legend_below(figure, grid[0, 0], fontsize=8)
    return figure


def prediction_curves(curves: pd.DataFrame, areas: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the mean curves of each method, one panel per curve, and their means beside them.

    Columns of the curves: ``method``, ``curve``, ``share`` and ``logit``; of the areas: ``method``,
    ``measure`` (the curve), ``mean``, ``low`` and ``high``.
    """
    names = [name for name in CURVES if name in set(curves["curve"])]
    rows = -(-len(names) // 2)
    figure, grid = style.panels(rows, 2, (10, 3.6 * rows + 0.6), title, sharey="row")
    areas = areas.set_index(["measure", "method"])
    means = curves.groupby(["curve", "method", "share"])["logit"].mean()
    methods = [name for name in style.methods() if name in set(curves["method"])]
    for axes, curve in zip(grid.flat, names, strict=False):
        for method in methods:
            look = {**style.style_of(method), "label": style.title_of(method)}
            axes.plot(means[curve, method], **look)
            mean, low, high = areas.loc[(curve, method), ["mean", "low", "high"]]
            place = 1.05 + 0.03 * methods.index(method)  # right of the curves
            bars = [[mean - low], [high - mean]]
            axes.errorbar([place], [mean], bars, **{**look, "label": None, "linestyle": "none"})
        axes.set(title=CURVES[curve], xlabel="share of the area; right: means with 95 % intervals")
        axes.set_xticks(np.linspace(0, 1, 5))
    for axes in grid[:, 0]:
        axes.set_ylabel("log-odds of tumor")
    style.legend_below(figure, grid[0, 0], fontsize=8)
    return figure


def map_similarity(
    table: pd.DataFrame,
    column: str,
    *,
    ceiling: Sequence[str] = (),
    floor: Sequence[str] = (),
    xlabel: str,
    title: str = "",
    linestyle: str = "-",
) -> Figure:
    """Draw how similar heat maps stay, between the similarities at the `ceiling` and the `floor`.

    Columns: ``method``, `column` (what was changed), ``measure`` (spearman, ssim), ``mean``,
    ``low``, ``high`` and, where there are several, the ``order`` of changes, one row of panels
    each. The `linestyle` is ``none`` where the changes have no order.
    """
    table = table if "order" in table else table.assign(order="")
    styles = {method: style.style_of(method) for method in table["method"].unique()}
    orders = table["order"].unique()
    figure, grid = style.panels(len(orders), 2, (10, 4 * len(orders)), title, sharey="col")
    titles = {"spearman": "rank correlation", "ssim": "structural similarity (SSIM)"}
    for row, order in zip(grid, orders, strict=True):
        values = table[table["order"] == order].set_index(["measure", "method", column])
        changes = values.index.unique(column)
        between = [name for name in changes if name not in (*ceiling, *floor)]
        blocks = [block for block in (ceiling, between, floor) if len(block)]
        places = [name for block in blocks for name in (*block, "")][:-1]  # "" breaks the line
        for axes, (measure, label) in zip(row, titles.items(), strict=True):
            options = {"linestyle": linestyle}
            style.draw_intervals(axes, values.loc[measure], styles, places, 0.15, **options)
            style.set_ticks(axes, places, rotation=45, ha="right")
            axes.set(title=f"{label} with the original map", xlabel=f"{xlabel} {order}".strip())
        row[0].set_ylabel("mean, 95 % interval")
    style.legend_below(figure, grid[0, 0], fontsize=8)
    return figure


def neoplastic_ranking(
    differences: pd.DataFrame, comparison: pd.DataFrame, *, title: str = ""
) -> Figure:
    """Draw how well one map, and each of its rivals, tell neoplastic nuclei from others by group.

    Parameters
    ----------
    differences : DataFrame
        Differences of one map: ``rival``, ``group``, ``auroc``, ``rival_auroc``, ``difference``.
    comparison : DataFrame
        Means of the same map: ``rival``, ``difference``, ``low`` and ``high``.
    title : str

    Returns
    -------
    Figure
    """
    by_rival = comparison.set_index("rival")
    names = ["finetuned network", *by_rival.index]
    figure, (grid,) = style.panels(1, 2, (10, 0.4 * len(names) + 1.8), title, sharey=True)
    generator = np.random.default_rng(0)

    def draw(axes: Axes, place: int, values: pd.Series, *ends: float) -> None:
        color = style.NETWORK_STYLES["pretrained" if place else "finetuned"]["color"]
        y = place + generator.uniform(-0.15, 0.15, len(values))
        axes.plot(values, y, "o", color=color, alpha=0.5, markersize=4)
        mean = values.mean()
        bars = np.abs(np.array([ends]).T - mean) if ends else None
        axes.errorbar([mean], [place], xerr=bars, fmt="D", color="#000000", markersize=5)

    for place, name in enumerate(names):
        rows = differences[differences["rival"] == (name if place else names[1])]
        draw(grid[0], place, rows["rival_auroc" if place else "auroc"])
        if place:
            draw(grid[1], place, rows["difference"], *by_rival.loc[name, ["low", "high"]])
    grid[0].axvline(0.5, color="#000000", linewidth=0.8, linestyle=":")
    grid[1].axvline(0, color="#000000", linewidth=0.8, linestyle=":")
    grid[0].set(title="ranks neoplastic above other nuclei", xlabel="AUROC (dotted: chance)")
    grid[1].set(title="finetuned network's map minus its rival", xlabel="difference of AUROC")
    grid[0].set_yticks(range(len(names)), [style.title_of(name) for name in names])
    grid[0].invert_yaxis()
    return figure
