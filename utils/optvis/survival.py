"""How much of a channel's excitation survives finetuning.

The image that maximised a channel before finetuning is shown to the finetuned network: does the
channel still respond, compared with the image that maximises it now?
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import pandas as pd

from utils.networks import Model, layer_features
from utils.once import Once, directly
from utils.optvis.choice import choose_channels
from utils.optvis.recipes import Recipe, render_channels
from utils.patches import to_uint8
from utils.statistics import jackknife_interval

ANOTHER_START = "another start"  # of the finetuned network's images: the ceiling
START, BEFORE, AFTER = "start", "pretrained", "finetuned"  # images by the network they maximise


def cross_activation(
    model: Model,
    images: Mapping[str, Mapping[str, np.ndarray]],
    channels: Mapping[str, Sequence[int]],
    *,
    once: Once = directly,
) -> pd.DataFrame:
    """Show channel images that were made for several networks to one network.

    Parameters
    ----------
    model : Model
        The finetuned network.
    images : mapping of str to (mapping of str to array, (n, H, W, 3))
        Images by what they maximise and by layer: `START` (nothing yet), `BEFORE`, `AFTER`, and
        others, such as those of a random network.
    channels : mapping of str to sequence of int
        Numbers of the n channels, by layer.
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.

    Returns
    -------
    DataFrame, one row per ``layer`` and ``channel``
        Spatial mean of the channel for each of the images, by their names; NaN where there are
        fewer images than channels.
    """
    shown = [
        (name, layer, to_uint8(by_layer[layer]))
        for name, by_layer in images.items()
        for layer in channels
    ]
    pixels = np.concatenate([some for *_, some in shown])
    response = once(layer_features, model, pixels, layers=list(channels))
    columns: dict[str, list] = {name: [] for name in images}
    first = 0
    for name, layer, some in shown:
        numbers = channels[layer][: len(some)]
        values = np.full(len(channels[layer]), np.nan)
        values[: len(some)] = response[layer][first + np.arange(len(some)), numbers]
        columns[name].append(values)
        first += len(some)
    places = [(layer, number) for layer, numbers in channels.items() for number in numbers]
    table = pd.DataFrame(places, columns=["layer", "channel"])
    return table.assign(**{name: np.concatenate(values) for name, values in columns.items()})


def survival(
    activations: pd.DataFrame, reference: str = AFTER, *, level: float = 0.95
) -> pd.DataFrame:
    """Compute the share of the excitation that images reach.

    (a - a(start)) / (a(reference) - a(start)), where a is the activation of the channel, as a ratio
    of sums over channels, so that channels which hardly respond do not count as much.

    Parameters
    ----------
    activations : DataFrame, from `cross_activation`
    reference : str
        Images that maximise the channels of the network that was asked.
    level : float
        Level of the intervals.

    Returns
    -------
    DataFrame, one row per ``layer`` (and ``all``) and ``images``
        ``share``, its jackknife interval over channels, ``low`` to ``high``, and numbers of
        ``channels`` and of ``dead`` ones, which their own image does not excite and which are left
        out.
    """
    names = [name for name in activations if name not in ("layer", "channel", START, reference)]
    rows = []
    for layer, table in [*activations.groupby("layer", sort=False), ("all", activations)]:
        gain = (table[reference] - table[START]).to_numpy()
        excited = gain > 1e-6 * table[reference].abs().max()
        for name in names:
            reached = (table[name] - table[START]).to_numpy()
            alive = excited & np.isfinite(reached)
            count, known = alive.sum(), np.isfinite(reached).sum()
            kept = np.vstack([np.ones(count), 1 - np.eye(count)])  # all, and one left out each
            total = np.where(kept.any(axis=1), kept @ gain[alive], np.nan)
            shares = kept @ reached[alive] / total
            low, high = jackknife_interval(shares, level)
            rows.append((layer, name, shares[0], low, high, count, known - count))
    return pd.DataFrame(
        rows, columns=["layer", "images", "share", "low", "high", "channels", "dead"]
    )


def first_added(model: Model, layer: str) -> int:
    """Return the first channel that a layer adds, if it concatenates an earlier analysis layer.

    In a dense block, the first channels are those of the layers before.
    """
    analysed = {id(model.layer(name).output) for name in model.backbone.layers}
    keeps_channels = keras.layers.BatchNormalization, keras.layers.Activation, keras.layers.ReLU
    tensor = model.layer(layer).output
    while True:
        operation = tensor._keras_history.operation
        if isinstance(operation, keras.layers.Concatenate):
            tensor = operation.input[0]
        elif isinstance(operation, keeps_channels):
            tensor = operation.input
        else:
            return 0
        if id(tensor) in analysed:
            return tensor.shape[-1]


def choose_added(
    model: Model, responses: Mapping[str, np.ndarray], count: int, *, seed: int = 0
) -> dict[str, list[int]]:
    """Draw channels of each layer from those that it adds, and that vary on patches.

    Parameters
    ----------
    model : Model
    responses : mapping of str to array, (N, C)
        Mean activation of each channel on N patches, by layer.
    count, seed : int

    Returns
    -------
    dict of str to list of int, in ascending order
    """
    first = {layer: first_added(model, layer) for layer in responses}
    added = {layer: response[:, first[layer] :] for layer, response in responses.items()}
    chosen = choose_channels(added, count, seed=seed)
    return {
        layer: [number + first[layer] for number in numbers] for layer, numbers in chosen.items()
    }


def render_again(
    networks: Mapping[str, Model],
    responses: Mapping[str, np.ndarray],
    recipe: Recipe,
    count: int,
    *,
    once: Once = directly,
    size: int = 128,
    seed: int = 0,
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, list[int]]]:
    """Render channels that layers add, for the endpoint of C1: with its ceiling and its floor.

    Parameters
    ----------
    networks : mapping of str to Model
        `BEFORE`, `AFTER`, ``finetuned 2`` and so on, and others whose images give a floor, such as
        with shuffled kernels.
    responses : mapping of str to array, (N, C)
        Mean activation of each channel before finetuning on N patches, by layer.
    recipe : Recipe
    count : int
        Number of channels per layer.
    once : callable
        As in `cross_activation`.
    size, seed : int
        As in `render_channels`.

    Returns
    -------
    images : dict of str to dict of str to array, (n, size, size, 3)
        Images of the start, of each network, and ``another start of`` each finetuned one, by layer.
    channels : dict of str to list of int, by layer
    """
    channels = choose_added(networks[BEFORE], responses, count, seed=seed)
    again = {f"{ANOTHER_START} of {name}": networks[name] for name in networks if _is_after(name)}
    images: dict[str, dict] = {name: {} for name in (START, *networks, *again)}
    for layer, numbers in channels.items():
        one = {layer: numbers}
        rendered = once(render_channels, networks, one, recipe, size=size, seed=seed)
        rendered |= once(render_channels, again, one, recipe, size=size, seed=seed + 100_003)
        for name, by_layer in rendered.items():
            images[name] |= by_layer
        images[START][layer] = recipe.start(len(numbers), size=size, seed=seed)().numpy()
    return images, channels


def average_activations(
    networks: Mapping[str, Model],
    images: Mapping[str, Mapping[str, np.ndarray]],
    channels: Mapping[str, Sequence[int]],
    *,
    once: Once = directly,
) -> pd.DataFrame:
    """Show images to each of several finetuned networks, and average what they answer.

    Parameters
    ----------
    networks, images, channels
        As given to and returned by `render_again`.
    once : callable
        As in `cross_activation`.

    Returns
    -------
    DataFrame, one row per ``layer`` and ``channel``
        As from `cross_activation`; each finetuned network is shown its own images as `AFTER`.
    """
    others = {name: images[name] for name in (START, *networks) if not _is_after(name)}
    tables = []
    for name in filter(_is_after, networks):
        shown = {**others, AFTER: images[name], ANOTHER_START: images[f"{ANOTHER_START} of {name}"]}
        tables.append(cross_activation(networks[name], shown, channels, once=once))
    return pd.concat(tables).groupby(["layer", "channel"], sort=False).mean().reset_index()


def survival_by_dose(
    doses: Mapping[float, Model],
    before: Model,
    channels: Mapping[str, Sequence[int]],
    recipe: Recipe,
    *,
    once: Once = directly,
    size: int = 128,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute the share of the excitation that survives more and more finetuning.

    Parameters
    ----------
    doses : mapping of float to Model
        Finetuned networks by how long they were finetuned.
    before : Model
    channels : mapping of str to sequence of int, by layer
    recipe : Recipe
    once, size, seed
        As in `render_again`.

    Returns
    -------
    DataFrame
        Rows of `survival` for the images of before, with the ``dose``; at 0 the share is 1.
    """
    networks = {BEFORE: before, **{f"dose {dose:g}": model for dose, model in doses.items()}}
    rendered = once(render_channels, networks, channels, recipe, size=size, seed=seed)
    starts = {
        layer: recipe.start(len(numbers), size=size, seed=seed)().numpy()
        for layer, numbers in channels.items()
    }
    tables = []
    for dose, name in zip((0, *doses), networks, strict=True):
        images = {START: starts, BEFORE: rendered[BEFORE], AFTER: rendered[name]}
        activations = cross_activation(networks[name], images, channels, once=once)
        tables.append(survival(activations).assign(dose=dose))
    return pd.concat(tables, ignore_index=True)


def _is_after(name: str) -> bool:
    return name.partition(" ")[0] == AFTER
