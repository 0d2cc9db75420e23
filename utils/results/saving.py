"""What notebooks show and save together: channel images, overlays with their cards, the gate."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils.results import figures
from utils.results.run import Results, Run

if TYPE_CHECKING:  # the pages, which draw nothing, need no TensorFlow
    from utils.heatmaps.maps import ExplainedPatches
    from utils.networks import Finetuning, Model


def save_channels(
    results: Results,
    rendered: Mapping[str, Mapping[str, np.ndarray]],
    channels: Mapping[str, Sequence[int]],
    *,
    network: str,
    title: str,
    maker: str = "",
    exciting: Mapping[str, Sequence[np.ndarray]] | None = None,
    unlike: Collection[tuple[str, str, int]] = (),
) -> dict[str, Figure]:
    """Save the image of every channel of a network, and a page per layer.

    Parameters
    ----------
    results : Results
    rendered : mapping of str to (mapping of str to array, (n, H, W, 3)), by network and layer
    channels : mapping of str to sequence of int, by layer
    network, title, maker : str
        Network whose images are saved; for texts: network or toolbox, and backbone; ``"Lucid's "``.
    exciting : mapping of str to sequence of array, (at most 9, h, w, 3), optional
        Patches that excite each channel most, by layer, for pages and beside the images. Without
        them, the pages show the images of all networks.
    unlike : collection of (network, layer, channel)
        Images to mark on pages beside patches, from `belief.unlike_patches`.

    Returns
    -------
    dict of str to Figure, by layer
    """
    pages = {}
    for layer, numbers in channels.items():
        images, heading = rendered[network][layer], f"{title}, {layer}"
        if exciting:
            titles = [f"channel {number}" for number in numbers]
            strange = [(network, layer, number) in unlike for number in numbers]
            options = {"title": heading, "unlike": strange}
            page = figures.channels_with_patches(images, exciting[layer], titles, **options)
            alt, shown = f"{heading}: channels beside patches", network
        else:
            titles = [f"{name} {number}" for name in rendered for number in numbers]
            pictures = [image for by_layer in rendered.values() for image in by_layer[layer]]
            page = figures.patchwork(pictures, titles, columns=len(numbers), title=heading)
            alt, shown = f"{heading}: channels, by network", list(rendered)
        results.figure(page, f"{layer}.jpg", alt, network=shown, layer=layer)
        pages[layer] = page
        for place, number in enumerate(numbers):
            file = f"{layer}/channel_{number:04d}"
            alt = f"{heading}: {maker}image that maximises channel {number}"
            about = {"channel": number, "network": network, "layer": layer}
            results.image(images[place], f"{file}.png", alt, **about)
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
    results : mapping of str to Results, by method
    explained : iterable of ExplainedPatches
    layer, title, status : str
        Layer of the heat maps, title of the network, and whether the patches were held out.
    colormap, opacity : str, float
        ``jet`` or ``cividis``; weight of the maps, in [0, 1].

    Returns
    -------
    list of Figure, one panel per group
    """
    panels, tables = [], []
    for group in explained:
        images, name, outcome = group.patches.images, group.class_name, group.outcome
        overlays = {
            method: figures.overlay(images, maps, colormap=colormap, opacity=opacity)
            for method, maps in group.maps.items()
        }
        titles = [f"{name}, p(tumor) = {probability:.2f}" for probability in group.probability]
        options = {"outlines": figures.outline_neoplastic(group.patches), "colormap": colormap}
        options["title"] = f"{title}\nevidence for {name}, {outcome} predictions, {status}"
        panels.append(figures.explanations(images, overlays, titles, **options))
        tables.append(_cards(group))
        alt = f"{name} patches with {outcome} predictions beside their heat maps and nuclei"
        for method, pictures in overlays.items():
            about = {"network": "finetuned", "class": name, "prediction": outcome}
            results[method].figure(panels[-1], f"{name}_{outcome}.jpg", alt, **about)
            maker = figures.title_of(method)
            about |= {"method": maker, "layer": layer, "inset": figures.CARD_INSET}
            for place, row in enumerate(tables[-1].itertuples()):
                text, about["probability"] = titles[place], row.probability_tumor
                card = figures.overlay_card(pictures[place], f"{maker}\n{text}", colormap=colormap)
                description = f"{maker} at {layer} for {name}: {text}"
                results[method].figure(card, row.file, description, **about)
                file = row.file.replace(".jpg", "_patch.jpg")
                description = f"{name} patch without heat map, x {row.x}, y {row.y} of {row.source}"
                results[method].image(images[place], file, description, of=row.file, role="patch")
    table = pd.concat(tables)
    for method, of_method in results.items():
        of_method.table(table.assign(method=method), "patches.csv", "the patches that are shown")
    return panels


def save_nuclei(
    run: Run,
    model: "Model",
    explained: Iterable["ExplainedPatches"],
    *,
    count: int = 3,
    colormap: str = "jet",
    opacity: float = 0.4,
) -> list[Figure]:
    """Save what each nucleus of some patches adds to the prediction, beside the heat maps.

    Parameters
    ----------
    run : Run
    model : Model
        The network that is explained.
    explained : iterable of ExplainedPatches
        Groups of patches; of correctly classified ones, the first are shown.
    count : int
        Number of patches per class.
    colormap, opacity : str, float
        As in `save_overlays`.

    Returns
    -------
    list of Figure, one per class; none where the patches have no nuclei masks
    """
    from utils.heatmaps import removal_effects

    drawn = []
    for group in explained:
        shown = group.patches.select(slice(count))
        if group.outcome != "correct" or shown.nuclei is None or not shown.nuclei.any():
            continue
        effects = run.once(removal_effects, model, shown, controls=False)
        overlays = {
            method: figures.overlay(shown.images, maps[:count], colormap=colormap, opacity=opacity)
            for method, maps in group.maps.items()
        }
        titles = [f"{group.class_name}, p(tumor) = {p:.2f}" for p in group.probability[:count]]
        title = f"{model.title}: what nuclei of {group.class_name} patches add"
        drawn.append(figures.nuclei_patchwork(shown, overlays, effects, titles, title=title))
        alt = f"{group.class_name} patches, heat maps and the effect of removing each nucleus"
        about = {"network": "finetuned", "class": group.class_name}
        run.main.figure(drawn[-1], f"nuclei_{group.class_name}.jpg", alt, **about)
    return drawn


def _cards(group: "ExplainedPatches") -> pd.DataFrame:
    """Return the rows of ``patches.csv`` of a group, without the method."""
    name, outcome, positions = group.class_name, group.outcome, group.patches.positions
    places = zip(group.index, positions, strict=True)
    columns = {"method": "", "class": name, "prediction": outcome}
    columns["file"] = [f"{name}/{outcome}_{i:03d}_x{x:04d}_y{y:04d}.jpg" for i, (x, y) in places]
    columns |= {"source": group.patches.sources, "x": positions[:, 0], "y": positions[:, 1]}
    return pd.DataFrame({**columns, "probability_tumor": group.probability.astype(float)})


def show_finetunings(run: Run, finetunings: Sequence["Finetuning"], gates: pd.DataFrame) -> None:
    """Show how networks were finetuned, by their manifests, and whether they pass the gate.

    Parameters
    ----------
    run : Run
    finetunings : sequence of Finetuning
    gates : DataFrame, from `networks.gates`
    """
    known = [one for one in finetunings if one.manifest]
    if known:
        scores = _scores(known)
        within = scores[scores["group"] == ""].drop(columns="group")
        by_group = scores[scores["group"] != ""].drop(columns=["auc", "balanced_accuracy"])
        titles = [one.title for one in known]
        curves, calibration = (
            pd.concat([pd.DataFrame(one.manifest[name]) for one in known], keys=titles)
            .reset_index(level=0, names="finetuning")
            .reset_index(drop=True)
            for name in ("epochs", "calibration")
        )
        networks = "1 network" if len(known) == 1 else f"{len(known)} networks"
        title = f"finetuned {run.backbone.title}, {networks}"
        figure = figures.finetuning_summary(curves, within, calibration, title=title)
        alt = "learning curves, balanced accuracy beside baselines, and calibration"
        run.show(figure, "finetuning.png", alt, network="finetuned")
        alt = "measures of held-out patches in tumour images, beside linear heads on other features"
        layout = {"index": ["finetuning", "classifier"]}
        run.show(within, "finetuning.csv", alt, layout=layout)
        alt = "accuracy in every held-out group, beside linear heads on other features"
        wide = {"index": ["group"], "columns": ["classifier"], "values": "accuracy"}
        run.main.table(by_group, "finetuning_by_group.csv", alt, layout=wide)
    layout = {"index": ["finetuning", "condition"]}
    run.show(gates, "gate.csv", "is it finetuned? conditions on held-out patches", layout=layout)


def _scores(finetunings: Sequence["Finetuning"]) -> pd.DataFrame:
    """Tabulate the measures in tumour images, where ``group`` is empty, and in every group."""
    rows = []
    for one in finetunings:
        classifiers = {"finetuned": one.manifest["metrics"], **one.manifest["baselines"]}
        for name, measured in classifiers.items():
            by_group = {"": measured["in_tumor_images"], **measured["by_group"]}
            about = {"finetuning": one.title, "classifier": name}
            rows += [{**about, "group": group, **scores} for group, scores in by_group.items()]
    return pd.DataFrame(rows)
