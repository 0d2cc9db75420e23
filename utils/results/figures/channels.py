"""Figures of images that maximise channels."""

from collections.abc import Collection, Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.results.figures import style
from utils.statistics import mean_interval

_UNLIKE = "#d55e00"
_FRAMED = "\nframed: the image travels through the network unlike any patch"
_ALL_UNLIKE = "\nall of these images travel through their network unlike any patch"


def patchwork(
    images: Sequence[np.ndarray],
    titles: Sequence[str] = (),
    *,
    columns: int = 4,
    title: str = "",
    cell: float = 1.7,
) -> Figure:
    """Lay out images, ``(H, W, 3)``, in a grid whose cells are so many inches wide."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    size = cell * columns, (cell + 0.25) * rows + 0.4
    figure, grid = style.panels(rows, columns, size, title, subplot_kw=style.BARE)
    for axes, image, text in zip(grid.flat, images, titles or [""] * len(images), strict=False):
        style.show_image(axes, image, text)
    return figure


def channels_with_patches(
    images: np.ndarray,
    patches: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    title: str = "",
    unlike: Sequence[bool] = (),
) -> Figure:
    """Show the image of each channel beside the (at most nine) patches that excite it most.

    Images that travel `unlike` any patch are framed.
    """
    montages = map(montage, patches)
    pictures = [picture for pair in zip(images, montages, strict=True) for picture in pair]
    texts = [text for name in titles for text in (name, "most exciting patches")]
    title, framed = _explain(title, list(unlike))
    figure = patchwork(pictures, texts, columns=2 * min(4, len(images)), title=title, cell=1.5)
    for axes in figure.axes[1::2]:
        axes.title.set_fontsize(7)
    for axes, strange in zip(figure.axes[::2], framed, strict=False):
        if strange:
            _frame(axes)
    return figure


def channel_overview(
    networks: Mapping[str, Mapping[str, np.ndarray]],
    channels: Mapping[str, Sequence[int]],
    *,
    unlike: Collection[tuple[str, str, int]] = (),
    title: str = "",
    cell: float = 0.75,
) -> Figure:
    """Show the same channels of several networks side by side, one layer per row.

    The networks map layers to images, ``(n, H, W, 3)``; the channels map layers to their numbers.
    Images that travel `unlike` any patch, given as network, layer and channel, are framed.
    """
    count = max(map(len, channels.values()))
    figure = Figure((cell * count * len(networks) + 1.2, (cell + 0.2) * len(channels) + 0.6))
    keys = [
        (network, layer, number)
        for network, rendered in networks.items()
        for layer, numbers in channels.items()
        for number, _ in zip(numbers, rendered[layer], strict=False)
    ]
    title, framed = _explain(title, [key in unlike for key in keys])
    marked = {key for key, strange in zip(keys, framed, strict=True) if strange}
    figure.suptitle(title)
    columns = figure.subfigures(1, len(networks), squeeze=False)[0]
    for column, (network, rendered) in zip(columns, networks.items(), strict=True):
        column.suptitle(network)
        grid = column.subplots(len(channels), count, squeeze=False, subplot_kw=style.BARE)
        for row, (layer, numbers) in zip(grid, channels.items(), strict=True):
            row[0].set_ylabel(layer, fontsize=8)
            for axes, image, number in zip(row, rendered[layer], numbers, strict=False):
                style.show_image(axes, image, f"{number}", fontsize=7, pad=2)
                if (network, layer, number) in marked:
                    _frame(axes)
    return figure


def _explain(title: str, unlike: list[bool]) -> tuple[str, list[bool]]:
    """Add to the title what frames mean; return it and what is framed: nothing where all would."""
    if unlike and all(unlike):
        return title + _ALL_UNLIKE, [False] * len(unlike)
    return title + _FRAMED * any(unlike), unlike


def _frame(axes: Axes) -> None:
    """Frame an image which travels through the network unlike any patch."""
    axes.set_frame_on(True)
    for spine in axes.spines.values():
        spine.set(visible=True, color=_UNLIKE, linewidth=2)


def complexity_by_layer(
    table: pd.DataFrame, measures: Mapping[str, str], title: str = ""
) -> Figure:
    """Draw the complexity of channel images by layer, one panel per measure with its title.

    Columns: ``layer``, ``measure``, ``network``, ``mean``, ``low``, ``high`` and ``n``.
    """
    layers = table["layer"].unique()
    styles = style.network_styles(name for name in table["network"] if " - " not in name)
    title = f"{title} (means and 95 % intervals over up to {table['n'].max()} channels)"
    figure, (grid,) = style.panels(1, len(measures), (9, 3.4), title)
    values = table.set_index(["measure", "network", "layer"])
    for axes, (measure, label) in zip(grid, measures.items(), strict=True):
        style.draw_intervals(axes, values.loc[measure], styles, layers, 0.12)
        style.set_ticks(axes, layers)
        axes.set_ylabel(label)
    style.legend_below(figure, grid[0])
    return figure


def montage(patches: np.ndarray, side: int = 64) -> np.ndarray:
    """Arrange up to nine patches, each scaled to `side` pixels, in a square, row by row."""
    canvas = np.full((3, 3, side, side, 3), 255, np.uint8)
    for place, patch in enumerate(patches[:9]):
        canvas[divmod(place, 3)] = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)
    return canvas.swapaxes(1, 2).reshape(3 * side, 3 * side, 3)


def path_by_layer(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw how much like a patch channel images travel, with patches among each other.

    The table is that of `utils.optvis.complexity.achieved`, with what `belief.believe` adds.
    """
    figure, ((axes,),) = style.panels(1, 1, (9, 4.2), title)
    layers = list(table["layer"].unique())
    rows = [
        (network, layer, values.mean(), *mean_interval(values.to_numpy()))
        for (network, layer), values in table.groupby(["network", "layer"])["path"]
    ]
    values = pd.DataFrame(rows, columns=["network", "layer", "mean", "low", "high"])
    styles = style.network_styles(table["network"].unique())
    indexed = values.set_index(["network", "layer"])
    style.draw_intervals(axes, indexed, styles, layers, 0.12)
    for network in (name for name in styles if name in style.NETWORK_STYLES):
        ceiling = table[table["network"] == network].groupby("layer")["path_patches"].first()
        color, label = styles[network]["color"], f"patches ({network})"
        places = range(len(layers))
        axes.plot(places, ceiling.reindex(layers), color=color, linewidth=1, label=label)
    style.set_ticks(axes, layers)
    axes.set_ylabel("similarity of the path to the\nmost similar patch (rank correlation)")
    style.legend_below(figure, axes)
    return figure


def survival_by_layer(shares: Mapping[str, pd.DataFrame], *, title: str = "") -> Figure:
    """Draw how much of the excitation images of other networks reach, one panel per network asked.

    The tables are those of `utils.optvis.survival.survival`.
    """
    figure, (grid,) = style.panels(1, len(shares), (10, 3.8), title, sharey=True)
    for axes, (network, table) in zip(grid, shares.items(), strict=True):
        values = table.rename(columns={"share": "mean"}).set_index(["images", "layer"])
        layers = [name for name in table["layer"].unique() if name != "all"]
        styles = style.network_styles(table["images"].unique())
        style.draw_intervals(axes, values, styles, layers, 0.15)
        for level in (0, 1):  # as the start, and as the network's own images
            axes.axhline(level, color="#000000", linewidth=0.8, linestyle=":")
        axes.set(title=f"{network} network, images of others")
        style.set_ticks(axes, layers)
    grid[0].set_ylabel("share of the excitation\nby the network's own images")
    names = {name: None for table in shares.values() for name in table["images"]}
    for name, line in style.network_styles(names).items():  # the panels show different networks
        if name not in next(iter(shares.values()))["images"].to_numpy():
            grid[0].errorbar([], [], [], label=name, **line)
    style.legend_below(figure, grid[0])
    return figure


def survival_by_dose(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw how much of the excitation survives, by number of epochs, one curve per layer.

    The table is that of `utils.optvis.survival.survival_by_dose`.
    """
    figure, ((axes,),) = style.panels(1, 1, (8, 4), title)
    doses = table["dose"].unique()
    values = table.rename(columns={"share": "mean"}).set_index(["layer", "dose"])
    lines = style.distinct_styles(table["layer"].unique())
    style.draw_intervals(axes, values, lines, list(doses), 0.1)
    style.set_ticks(axes, [f"{dose:g}" for dose in doses], rotation=0)
    axes.axhline(0.5, color="#000000", linewidth=0.8, linestyle=":")
    axes.set(xlabel="epochs of finetuning", ylim=(min(0, axes.get_ylim()[0]), None))
    axes.set_ylabel("share of the excitation by images of before\n(dotted: C1 is supported below)")
    style.legend_below(figure, axes)
    return figure
