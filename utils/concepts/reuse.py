"""In which layers finetuning matters: blocks are set back, and halves of networks transplanted."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import keras
import numpy as np
import pandas as pd

from utils.concepts.probes import balanced_accuracy
from utils.networks import Finetuning, Model, average_seeds, linear_probe, pool
from utils.networks.probe import last_features
from utils.networks.weights import shuffle
from utils.once import Once, directly
from utils.patches import PatchSet
from utils.progress import progress_bar
from utils.statistics import intervals

# What is done at a layer, and what is left of the finetuned network.
VARIANTS = {
    "block set back": "the layers since the previous one have their ImageNet weights",
    "block shuffled": "their pretrained kernels are shuffled",
    "finetuned above": "everything up to here has its ImageNet weights",
    "finetuned below": "everything above, and the head, is as before finetuning",
}


def blocks(model: Model, layers: Sequence[str]) -> dict[str, list[int]]:
    """List the Keras layers that each analysis layer adds to the previous ones, by their places."""
    taken: set[int] = set()
    added = {}
    for name in layers:
        needed = keras.Model(model.network.inputs, model.layer(name).output).layers
        places = {i for i, layer in enumerate(model.network.layers) if layer in needed}
        added[name] = sorted(places - taken)
        taken |= places
    return added


def variants(
    finetuned: Model, pretrained: Model, layers: Sequence[str], *, seed: int = 0
) -> Iterator[tuple[str, str, Model]]:
    """Yield layer, variant and the network, one and the same, whose weights change.

    `pretrained` has a linear head.
    """
    changed = replace(finetuned.copy(), weights="transplanted", origin="", sha256="")
    after, before = (
        [layer.get_weights() for layer in model.network.layers] for model in (finetuned, pretrained)
    )
    everything = set(range(len(after)))

    def with_weights_before(places: set[int]) -> Model:
        for place, layer in enumerate(changed.network.layers):
            layer.set_weights(before[place] if place in places else after[place])
        return changed

    yield "", "finetuned", with_weights_before(set())
    yield "", "pretrained", with_weights_before(everything)
    below: set[int] = set()
    for name, added in blocks(changed, layers).items():
        below |= {*added}
        yield name, "finetuned above", with_weights_before(below)
        yield name, "finetuned below", with_weights_before(everything - below)
        yield name, "block set back", with_weights_before({*added})
        for place in added:
            shuffle(changed.network.layers[place], 100_003 * seed + place)
        yield name, "block shuffled", changed


def margins(
    finetuned: Model,
    pretrained: Model,
    patches: PatchSet,
    *,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict patches by networks of which parts are as before finetuning.

    Parameters
    ----------
    finetuned, pretrained : Model
        The latter under a linear head, such as from `linear_probe`.
    patches : PatchSet
        Patches that neither has seen.
    layers : sequence of str, optional
        By default all analysis layers.
    seed : int
        Seed of the shuffled kernels.

    Returns
    -------
    DataFrame
        One row per ``layer``, ``variant`` (see `VARIANTS`; ``""`` and the name of a whole network)
        and ``patch``: ``group``, ``label`` and ``margin``, the log-odds of the patch's class.
    """
    layers = list(layers or finetuned.backbone.layers)
    signs = np.where(patches.labels == 1, 1, -1)
    tables = []
    total = 2 + len(VARIANTS) * len(layers)
    changes = variants(finetuned, pretrained, layers, seed=seed)
    for layer, variant, model in progress_bar(changes, desc="transplant", total=total):
        margin = signs * model.log_odds(patches.images)
        columns = {"layer": layer, "variant": variant, "patch": range(len(patches))}
        columns |= {"group": patches.groups, "label": patches.labels, "margin": margin}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def reuse_by_layer(
    finetunings: Sequence[Finetuning],
    pretrained: Model,
    training: PatchSet,
    patches: PatchSet,
    *,
    once: Once = directly,
    **options,
) -> pd.DataFrame:
    """Say in which layers finetuning matters, on patches that the networks have not seen.

    Parameters
    ----------
    finetunings : sequence of Finetuning
    pretrained : Model
        Network without a head; for each finetuning, a linear head is fitted to its training groups,
        or to all where these are unknown.
    training, patches : PatchSet
        Patches for these heads, and those that are predicted, best of tumour images.
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.
    **options
        ``layers`` and ``seed``, as in `margins`.

    Returns
    -------
    DataFrame, one row per ``layer`` and ``variant``
        ``margin`` with its 95 % interval over groups, ``low`` to ``high``, ``balanced_accuracy``,
        and numbers of ``n`` patches and ``groups``; averaged over seeds first.
    """
    features = once(last_features, pretrained, training)

    def measure(one: Finetuning, unseen: PatchSet) -> pd.DataFrame:
        seen = one.seen(training) if one.seen(training).any() else np.ones(len(training), bool)
        head = linear_probe(pretrained, training.select(seen), features[seen])
        return once(margins, one.model, head, unseen, **options)

    table = average_seeds(pool(finetunings, patches, measure), ["margin"])
    keys = ["layer", "variant"]
    summary = intervals(table, keys, ["margin"]).drop(columns="measure")
    accuracy = [
        balanced_accuracy(rows["margin"].to_numpy() > 0, rows["label"].to_numpy(), rows["group"])[0]
        for _, rows in table.groupby(keys, sort=False)
    ]
    return summary.rename(columns={"mean": "margin"}).assign(balanced_accuracy=accuracy)
