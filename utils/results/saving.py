"""What notebooks show and save together: channel images, overlays with their cards, concepts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils.patches import PatchSet
from utils.results import figures
from utils.results.run import Results, Run

if TYPE_CHECKING:  # the pages, which draw nothing, need no TensorFlow
    from utils.concepts.analysis import Analysis
    from utils.heatmaps.maps import ExplainedPatches

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
    explained: Iterable["ExplainedPatches"],
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
    explained : iterable of ExplainedPatches
        From `utils.heatmaps.explain_by_outcome`.
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
    for group in explained:
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
    group: "ExplainedPatches",
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


def show_measures(run: Run, name: str, measures: pd.DataFrame, patches: PatchSet) -> None:
    """Show the concepts ``name`` of the patches by class, and save them as ``name_measures``.

    Parameters
    ----------
    run : Run
    name : str
        What is measured, such as texture.
    measures : DataFrame, N rows
        One column per concept.
    patches : PatchSet
        The N patches.
    """
    figure = figures.measures_overview(
        measures, patches.labels, patches.class_names, title=f"{name} measures".capitalize()
    )
    run.show(figure, f"{name}_measures.png", f"{name} of the patches by class, and correlations")
    table = measures.assign(group=patches.groups, label=patches.labels)
    run.main.table(table, f"{name}_measures.csv", f"{name} of every patch")


def show_r2(run: Run, name: str, analysis: "Analysis", patches: PatchSet) -> None:
    """Show R² of the concepts ``name`` by layer and network, and save it as ``name_r2``.

    Parameters
    ----------
    run : Run
    name : str
        What is measured, such as texture.
    analysis : Analysis
        From `utils.concepts.analyse`.
    patches : PatchSet
        All patches; those without measures were left out.
    """
    groups = patches.groups[analysis.known]
    title = f"{run.backbone.title}, {len(groups)} patches of {len(set(groups))} groups: {name}"
    figure = figures.r2_panels(analysis.in_sample, analysis.held_out, title=title)
    alt = f"R² of {name} by layer and network, in-sample and on held-out groups"
    networks = list(dict.fromkeys(analysis.held_out["network"]))
    run.show(figure, f"{name}_r2.png", alt, network=networks)
    run.main.table(analysis.in_sample, f"{name}_r2_in_sample.csv", f"R² of {name}, in-sample")
    wide = {"index": ["concept", "layer"], "columns": ["network"], "values": "r2"}
    alt = f"R² of {name} on held-out groups"
    run.main.table(analysis.held_out, f"{name}_r2_held_out.csv", alt, layout=wide)


def show_relevance(run: Run, name: str, analysis: "Analysis") -> None:
    """Show the relevance of the concepts ``name``, and save it as ``name_relevance``.

    Parameters
    ----------
    run : Run
    name : str
        What is measured, such as texture.
    analysis : Analysis
        From `utils.concepts.analyse`, with gradients.
    """
    title = f"{run.backbone.title}: relevance of {name} for tumor"
    figure = figures.relevance_map(analysis.relevance, title=title)
    alt = f"bidirectional relevance of {name} for tumor by layer and network"
    networks = list(dict.fromkeys(analysis.relevance["network"]))
    run.show(figure, f"{name}_relevance.png", alt, network=networks)
    wide = {"index": ["network", "concept"], "columns": ["layer"], "values": "br"}
    run.main.table(analysis.relevance, f"{name}_relevance.csv", alt, layout=wide)
