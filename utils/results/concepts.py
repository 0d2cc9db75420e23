"""What the notebook of concepts shows and saves together: measures, R2, relevance."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from utils.patches import PatchSet
from utils.results import figures
from utils.results.run import Run

if TYPE_CHECKING:  # the pages, which draw nothing, need no TensorFlow
    from utils.concepts.analysis import Analysis
    from utils.concepts.discovery import Concepts


def show_measures(run: Run, name: str, measures: pd.DataFrame, patches: PatchSet) -> None:
    """Show the concepts ``name`` of the patches by class, and save them as ``name_measures``.

    Parameters
    ----------
    run : Run
    name : str, such as texture
    measures : DataFrame, N rows, one column per concept
    patches : PatchSet of N patches
    """
    classes = patches.labels, patches.class_names
    figure = figures.measures_overview(measures, *classes, title=f"{name} measures".capitalize())
    run.show(figure, f"{name}_measures.png", f"{name} of the patches by class, and correlations")
    table = measures.assign(group=patches.groups, label=patches.labels)
    run.main.table(table, f"{name}_measures.csv", f"{name} of every patch")


def show_r2(run: Run, name: str, analysis: "Analysis") -> None:
    """Show R² of the concepts ``name`` by layer and network, and save it as ``name_r2``.

    Parameters
    ----------
    run : Run
    name : str, such as texture
    analysis : Analysis
    """
    by_layer = next(iter(analysis.regressions.values()))
    groups = next(iter(by_layer.values())).groups
    title = f"{run.backbone.title}, {len(groups)} patches of {len(set(groups))} groups: {name}"
    tables = analysis.in_sample, analysis.held_out, analysis.baselines
    figure = figures.r2_panels(*tables, title=title)
    alt = f"R² of {name} by layer and network, in-sample and on held-out groups"
    run.show(figure, f"{name}_r2.png", alt, network=[*analysis.held_out["network"].unique()])
    run.main.table(analysis.in_sample, f"{name}_r2_in_sample.csv", f"R² of {name}, in-sample")
    wide = {"index": ["concept", "layer"], "columns": ["network"], "values": "r2"}
    alt = f"R² of {name} on held-out groups"
    run.main.table(analysis.held_out, f"{name}_r2_held_out.csv", alt, layout=wide)
    if len(analysis.baselines):
        alt = f"R² of {name} from features that are not of a network"
        run.main.table(analysis.baselines, f"{name}_r2_baselines.csv", alt)


def show_relevance(run: Run, name: str, analysis: "Analysis") -> None:
    """Show the relevance of the concepts ``name`` as ratio and as size.

    Saved as ``name_relevance`` and ``name_effects``.

    Parameters
    ----------
    run : Run
    name : str, such as texture
    analysis : Analysis, with gradients
    """
    table = analysis.relevance
    title = f"{run.backbone.title}: relevance of {name} for tumor"
    alt = f"bidirectional relevance of {name} for tumor by layer and network"
    networks = [*table["network"].unique()]
    figure = figures.relevance_map(table, title=title)
    run.show(figure, f"{name}_relevance.png", alt, network=networks)
    title = f"{run.backbone.title}: change of the log-odds of tumor with {name}"
    figure = figures.concept_effects(table, title=title)
    alt = f"change of the log-odds of tumor per deviation of {name}, by layer and network"
    run.show(figure, f"{name}_effects.png", alt, network=networks)
    wide = {"index": ["network", "concept"], "columns": ["layer"], "values": "br"}
    run.main.table(table, f"{name}_relevance.csv", alt, layout=wide)


def show_discovered(
    run: Run,
    discovered: "Concepts",
    maps: np.ndarray,
    images: np.ndarray,
    pictures: np.ndarray,
    table: pd.DataFrame,
) -> None:
    """Show concepts without names, the most important first, and save them as ``discovered``.

    Parameters
    ----------
    run : Run
    discovered : Concepts, K of them
    maps : array, (N, H, W, K), float32
        How much of each concept there is in every pixel of the patches.
    images : array, (N, H, W, 3), uint8
    pictures : array, (K, h, w, 3), float32 in [0, 1]
        Image that maximises each concept.
    table : DataFrame, K rows
        ``importance``, and ``name`` and ``correlation`` from `name_concepts`.
    """
    table = table.rename_axis("concept").sort_values("importance", ascending=False)
    overlays, crops, texts, order = [], [], [], table.index.to_numpy(int)
    for concept, (_, row) in zip(order, table.iterrows(), strict=True):
        heat = maps[..., concept]
        most = np.argsort(-heat.mean(axis=(1, 2)), kind="stable")[:2]
        shares = heat[most] / max(heat[most].max(), 1e-12)
        overlays.append(figures.overlay(images[most], shares, colormap="cividis"))
        crops.append(discovered.best_crops(concept, 4))
        texts.append(
            f"{row['importance']:.0%} of the\nlog-odds'\nvariance\n\n"
            f"{row['name']}\n{row['correlation']:+.2f}"
        )
    title = (
        f"finetuned {run.backbone.title}, {discovered.layer}: concepts without names, with the\n"
    )
    title += "measure that each correlates with most"
    figure = figures.discovered_concepts(pictures[order], crops, overlays, texts, title=title)
    alt = f"non-negative factors of {discovered.layer}: image, crops, maps and importance of each"
    run.show(figure, "discovered.jpg", alt, network="finetuned", layer=discovered.layer)
    run.main.table(table.reset_index(), "discovered.csv", alt)
