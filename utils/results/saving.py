"""What notebooks save without showing all of it: channel images, and overlays with their cards."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils.results import figures
from utils.results.run import Results

_COLUMNS = "method class prediction file source x y probability_tumor".split()


def save_channels(
    results: Results,
    rendered: Mapping[str, Mapping[str, np.ndarray]],
    channels: Mapping[str, Sequence[int]],
    *,
    network: str,
    title: str,
    maker: str = "",
    exciting: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> dict[str, Figure]:
    """Save the image of every channel of a network, and a page per layer.

    Parameters
    ----------
    results : Results
    rendered : mapping of str to (mapping of str to array, (n, H, W, 3))
        Images by network and layer.
    channels : mapping of str to sequence of int
        Channel numbers by layer.
    network : str
        Network whose images are saved one by one.
    title : str
        Network or toolbox, and backbone, for titles and alternative texts.
    maker : str
        Toolbox, in the alternative text of each image: ``"Lucid's "``.
    exciting : mapping of str to sequence of array, (at most 9, h, w, 3), optional
        Patches that excite each channel most, by layer: shown on the pages and saved beside each
        image. Without them, the pages show the images of all networks.

    Returns
    -------
    dict of str to Figure
        Pages by layer.
    """
    pages = {}
    for layer, numbers in channels.items():
        images, heading = rendered[network][layer], f"{title}, {layer}"
        about: dict[str, Any] = {"network": network, "layer": layer}
        if exciting:
            titles = [f"channel {number}" for number in numbers]
            page = figures.channels_with_patches(images, exciting[layer], titles, title=heading)
            results.figure(page, f"{layer}.jpg", f"{heading}: channels beside patches", **about)
        else:
            titles = [f"{name} {number}" for name in rendered for number in numbers]
            shown = np.concatenate([by_layer[layer] for by_layer in rendered.values()])
            page = figures.patchwork(shown, titles, columns=len(numbers), title=heading)
            of_all = {**about, "network": list(rendered)}
            results.figure(page, f"{layer}.jpg", f"{heading}: channels, by network", **of_all)
        pages[layer] = page
        for place, number in enumerate(numbers):
            file = f"{layer}/channel_{number:04d}"
            alt = f"{heading}: {maker}image that maximises channel {number}"
            results.image(images[place], f"{file}.png", alt, channel=number, **about)
            if exciting:
                nine = figures.montage(exciting[layer][place], side=44)
                alt = f"the nine patches that excite channel {number} of {layer} most, {network}"
                companion = {"of": f"{file}.png", "role": "patches"}
                results.image(nine, f"{file}_patches.jpg", alt, **companion)
    return pages


def save_overlays(
    results: Mapping[str, Results],
    groups: Iterable[Any],
    *,
    layer: str,
    title: str,
    status: str,
    colormap: str = "jet",
    opacity: float = 0.4,
) -> list[Figure]:
    """Save heat maps over patches: a panel per group, a card per patch, and ``patches.csv``.

    Parameters
    ----------
    results : mapping of str to Results
        Results by method.
    groups : iterable of ExplainedGroup
        Patches of one class and outcome with their `maps` by method.
    layer : str
        Layer of the heat maps.
    title, status : str
        Title of the network, and whether the patches were held out.
    colormap : str
        ``jet`` or ``cividis``.
    opacity : float
        Weight of the maps, in [0, 1].

    Returns
    -------
    list of Figure
        Panel of each group.
    """
    panels, rows = [], []
    for group in groups:
        images, name = group.patches.images, group.class_name
        overlays = {
            method: figures.overlay(images, maps, colormap=colormap, opacity=opacity)
            for method, maps in group.maps.items()
        }
        titles = [f"{name}, p(tumor) = {probability:.2f}" for probability in group.probability]
        panel = figures.explanations(
            images,
            overlays,
            titles,
            outlines=figures.outline_neoplastic(group.patches),
            colormap=colormap,
            title=f"{title}: evidence for {name}\n{group.outcome} predictions, {status}",
        )
        panels.append(panel)
        about = {"network": "finetuned", "class": name, "prediction": group.outcome}
        alt = f"{name} patches with {group.outcome} predictions beside their heat maps and nuclei"
        for method, pictures in overlays.items():
            results[method].figure(panel, f"{name}_{group.outcome}.jpg", alt, **about)
            about_card = {**about, "method": figures.title_of(method), "layer": layer}
            cards = _save_cards(results[method], group, titles, pictures, about_card, colormap)
            rows += [(method, name, group.outcome, *card) for card in cards]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    for method, of_method in results.items():
        of_method.table(
            table[table["method"] == method], "patches.csv", "the patches that are shown"
        )
    return panels


def _save_cards(
    results: Results,
    group: Any,
    titles: Sequence[str],
    pictures: np.ndarray,
    about: Mapping[str, Any],
    colormap: str,
) -> list[tuple]:
    """Save each overlay as a card, and its patch; return their rows of ``patches.csv``."""
    rows, patches, name = [], group.patches, group.class_name
    for place, title in enumerate(titles):
        (x, y), source = patches.positions[place], patches.sources[place]
        file = f"{name}/{group.outcome}_{group.index[place]:03d}_x{x:04d}_y{y:04d}"
        probability = group.probability[place]
        card = figures.overlay_card(
            pictures[place], f"{about['method']}\n{title}", colormap=colormap
        )
        results.figure(
            card,
            f"{file}.jpg",
            f"{about['method']} at {about['layer']} for {name}: {title}",
            **about,
            probability=float(probability),
            inset=figures.CARD_INSET,
        )
        alt = f"{name} patch without heat map, x {x}, y {y} of {source}"
        companion = {"of": f"{file}.jpg", "role": "patch"}
        results.image(patches.images[place], f"{file}_patch.jpg", alt, **companion)
        rows.append((f"{file}.jpg", source, x, y, probability))
    return rows
