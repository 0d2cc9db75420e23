"""The prior as a variable: each network's channel images under each spectrum.

What an image shows comes from the channel and from the prior. With ImageNet's spectrum and that of
tissue, and the network before and after finetuning, both can be told apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from utils.cluster import map_chunks
from utils.networks import Model
from utils.once import Once, directly
from utils.optvis.complexity import achieved
from utils.optvis.crops import Crops
from utils.optvis.recipes import maco, render_channels
from utils.statistics import mean_interval

FEW_CROPS = Crops(count=2, size=96, sides=(0.6, 0.3))  # of each image and step
Images = dict[str, dict[str, dict[str, np.ndarray]]]  # by prior, network and layer


def render_under_priors(
    models: Mapping[str, Model],
    channels: Mapping[str, Sequence[int]],
    spectra: Mapping[str, np.ndarray],
    *,
    size: int = 192,
    steps: int = 64,
    crops: Crops = FEW_CROPS,
    seed: int = 0,
    over: Any = map_chunks,
) -> Images:
    """Render channels of networks by MACO, under each of several spectra, from the same phases.

    Parameters
    ----------
    models : mapping of str to Model
        Networks by name.
    channels : mapping of str to sequence of int
        Channel numbers, by layer.
    spectra : mapping of str to array, (3, h, w // 2 + 1)
        Magnitudes by name of the prior, such as of ImageNet and of tissue.
    size, steps, seed : int
        Side of the canvas in pixels, number of steps, and seed of each layer's first image.
    crops : Crops
        What the networks see of the canvas.
    over : callable
        As of `render_channels`.

    Returns
    -------
    dict of str to dict of str to dict of str to array, (N, size, size, 3), float32 in [0, 1]
        By prior, network and layer.
    """
    recipes = {name: maco(spectrum, steps=steps, crops=crops) for name, spectrum in spectra.items()}
    return {
        name: render_channels(models, channels, recipe, size=size, seed=seed, over=over)
        for name, recipe in recipes.items()
    }


def compare_priors(
    models: Mapping[str, Model],
    images: Images,
    channels: Mapping[str, Sequence[int]],
    responses: Mapping[str, Mapping[str, np.ndarray]],
    *,
    once: Once = directly,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tell how far images under each prior excite their channels.

    Parameters
    ----------
    models, channels, responses, once
        As in `complexity.achieved`.
    images : as from `render_under_priors`

    Returns
    -------
    by_channel : DataFrame
        As from `achieved`, with the ``prior`` and the ``reach``: how far the image goes beyond the
        mean of the patches, in units of how far the highest patch goes.
    summary : DataFrame
        One row per ``network`` and pair of priors (``of``, ``to``): mean ``difference`` of the
        reach, its 95 % interval over channels, and their number. For networks after the first,
        another row, such as of ``"finetuned - pretrained"``: how much more the prior matters.
    """
    tables = {
        prior: achieved(models, by_network, channels, responses, once=once)
        for prior, by_network in images.items()
    }
    table = pd.concat(tables, names=["prior"]).reset_index("prior").reset_index(drop=True)
    span = table["patches_max"] - table["patches_mean"]
    table["reach"] = (table["image"] - table["patches_mean"]) / span.where(span > 0)
    wide = table.pivot(index=["layer", "channel"], columns=["network", "prior"], values="reach")
    reference, *others = models
    first, *priors = images
    rows = []
    for prior in priors:
        differences = {name: wide[name][prior] - wide[name][first] for name in models}
        for name in others:
            differences[f"{name} - {reference}"] = differences[name] - differences[reference]
        for name, values in differences.items():
            known = values.dropna().to_numpy()
            rows.append((name, prior, first, known.mean(), *mean_interval(known), len(known)))
    columns = ["network", "of", "to", "difference", "low", "high", "channels"]
    return table, pd.DataFrame(rows, columns=columns)
