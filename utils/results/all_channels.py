"""Every channel of every layer, as images in one folder with pages, by a job that can be killed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from utils.cluster import map_chunks
from utils.files import whole_file
from utils.patches import to_uint8
from utils.results.pages import environment
from utils.results.run import Results
from utils.results.steps import identity
from utils.versions import code_sha256

if TYPE_CHECKING:  # the pages, which draw nothing, need no TensorFlow
    from utils.networks import Model

TABLE, JOB = "channels.csv", "job.json"


def render_all_channels(
    models: Mapping[str, "Model"],
    patches: np.ndarray,
    folder: str | Path,
    *,
    layers: Sequence[str] | None = None,
    recipe: str = "fast",
    steps: int = 64,
    size: int = 128,
    seed: int = 0,
) -> pd.DataFrame:
    """Render all channels of some layers of several networks, and compare them with patches.

    Chunks of channels are rendered here or by workers; what is complete is kept in the folder, so
    that a job that was killed goes on. Pages are written at the end: ``index.html``, and one per
    layer.

    Parameters
    ----------
    models : mapping of str to Model
        Networks of one architecture, by name, such as ``pretrained`` and ``finetuned``.
    patches : array, (N, H, W, 3), uint8
        Real patches; the highest mean activation on one of them is what an image has to beat.
    folder : str or Path
        Folder of this job alone.
    layers : sequence of str, optional
        By default all analysis layers of the backbone.
    recipe, steps
        As in `recipes.named`.
    size, seed : int
        Side of the images in pixels, and seed of each layer's first image.

    Returns
    -------
    DataFrame
        As from `complexity.achieved`, one row per network and channel; also ``channels.csv``.
    """
    # Only here, since nothing else of this subpackage needs TensorFlow.
    from utils.networks import layer_features
    from utils.optvis import recipes

    folder, some = Path(folder), next(iter(models.values()))
    layers = list(layers or some.backbone.layers)
    some.check_spatial(layers)
    options = {"recipe": recipe, "steps": steps, "size": size, "seed": seed}
    _claim(folder, [*models.items(), patches], {**options, "layers": layers, "networks": [*models]})
    if (folder / TABLE).exists():
        return pd.read_csv(folder / TABLE)
    responses = {
        name: layer_features(model, patches, layers=layers) for name, model in models.items()
    }
    counts = {layer: responses[next(iter(models))][layer].shape[1] for layer in layers}
    tables = {
        (layer, start): folder / ".chunks" / f"{layer}_{start}.csv"
        for layer, count in counts.items()
        for start in range(0, count, recipes.CHANNELS)
    }
    missing = [place for place, path in tables.items() if not path.exists()]
    chunks = (
        (f"{layer} {start}", (layer, start, min(start + recipes.CHANNELS, counts[layer])))
        for layer, start in missing
    )
    shared = (models, responses, recipes.named(recipe, steps=steps), size, seed)
    bar = {"desc": "channels", "total": len(tables), "initial": len(tables) - len(missing)}
    results = Results(folder)
    for name, (images, table) in map_chunks(render_and_compare, chunks, shared=shared, **bar):
        layer, start = name.rsplit(" ", 1)
        for network, its_images in images.items():
            for number, image in enumerate(its_images, int(start)):
                results.image(image, _file(layer, network, number))
        with whole_file(tables[layer, int(start)]) as scratch:
            table.to_csv(scratch, index=False, float_format="%.6g")
    return _finish(folder, tables.values())


def render_and_compare(
    models: Mapping[str, "Model"],
    responses: Mapping[str, Mapping[str, np.ndarray]],
    recipe: Any,
    size: int,
    seed: int,
    layer: str,
    start: int,
    stop: int,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Render consecutive channels of a layer; return images by network, uint8, and `achieved`."""
    from utils.optvis import complexity, recipes

    channels = {layer: range(start, stop)}
    # The default of `over` computes here, since workers are not connected to others.
    rendered = recipes.render_channels(models, channels, recipe, size=size, seed=seed + start)
    table = complexity.achieved(models, rendered, channels, responses)
    return {name: to_uint8(images[layer]) for name, images in rendered.items()}, table


def _claim(folder: Path, content: Sequence, options: Mapping[str, Any]) -> None:
    """Write down what the folder's job is; raise ValueError if it has another one."""
    about = {**options, "identity": identity([*content, code_sha256()])}
    path = folder / JOB
    known = json.loads(path.read_text()) if path.exists() else None
    if known not in (None, about):
        different = [key for key, value in about.items() if known.get(key) != value]
        raise ValueError(
            f"{folder} holds another job: {', '.join(different)} differ. Give another folder."
        )
    if known is None and folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty, and has no {JOB}: give another folder.")
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(about, indent=1))


def _file(layer: str, network: str, number: int) -> str:
    return f"{layer}/{network}_{number:04d}.jpg"


def _finish(folder: Path, tables: Sequence[Path]) -> pd.DataFrame:
    """Join the tables of the chunks, and write the pages."""
    table = pd.concat([pd.read_csv(path) for path in tables], ignore_index=True)
    table["file"] = [
        _file(*row) for row in table[["layer", "network", "channel"]].itertuples(False)
    ]
    layers = {layer: rows for layer, rows in table.groupby("layer", sort=False)}
    beating = table["image"] > table["patches_max"]
    summary = beating.groupby([table["layer"], table["network"]], sort=False).agg(["sum", "size"])
    render = environment().get_template("channels.html.j2").render
    pages = {"index.html": render(layers=layers, summary=summary, layer=None)}
    pages |= {f"{layer}.html": render(layers=layers, layer=layer) for layer in layers}
    for name, text in pages.items():
        with whole_file(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")
    with whole_file(folder / TABLE) as scratch:
        table.drop(columns="file").to_csv(scratch, index=False, float_format="%.6g")
    for path in tables:
        path.unlink()
    (folder / ".chunks").rmdir()
    return pd.read_csv(folder / TABLE)
