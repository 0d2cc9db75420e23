"""The same measures of a second set of patches, which no network was trained on, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from utils import networks
from utils.concepts.analysis import r2_interaction
from utils.concepts.folds import Folds, OfFolds
from utils.concepts.measures import texture_measures
from utils.concepts.probes import balanced_accuracy
from utils.concepts.regression import Regression, regress
from utils.concepts.similarity import cka_left_out
from utils.networks import Finetuning, Model, layer_features
from utils.networks.gate import THRESHOLD
from utils.networks.probe import fit_head, last_features
from utils.once import Once, directly
from utils.patches import PatchSet
from utils.statistics import LEAST_GROUPS, jackknife_interval, leave_one_out

Networks = Mapping[str, Mapping[str, OfFolds]]  # features by network and layer

LEAD = "balanced accuracy, finetuned minus linear head"
GAIN = "R2 gained by finetuning, {} layers"
EFFECTS = (LEAD, *map(GAIN.format, ("early", "deep", "deep minus early")))  # signs say something


def replicate(
    finetunings: Sequence[Finetuning],
    pretrained: Model,
    patches: PatchSet,
    training: PatchSet,
    *,
    early: Sequence[str],
    deep: Sequence[str],
    once: Once = directly,
    **options,
) -> pd.DataFrame:
    """Measure how well networks predict a set, and what their layers know of its texture.

    The set is one that no network was trained on, or the one that they were trained on, of which
    each network is asked about the groups that it has not seen.

    Parameters
    ----------
    finetunings : sequence of Finetuning
    pretrained : Model
        Network before finetuning, without a head.
    patches : PatchSet
        Set to measure, of the size that the networks were trained at.
    training : PatchSet
        Set with the groups that the networks were trained on, to which linear heads on the
        pretrained features are fitted.
    early, deep : sequence of str
        Layers, such as from `early_and_deep`.
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.
    **options
        ``folds``, ``seed``, ``distances`` and ``angles``, as in `texture_regressions`.

    Returns
    -------
    DataFrame, one row per ``measure``
        ``value``, its 95 % interval over groups, ``low`` to ``high``, and the numbers of ``groups``
        and ``patches`` that it was measured on. AUC and balanced accuracy are those of mean
        probabilities over networks, in images that have both classes, if any has. R2 is held out,
        within image and class, mean over measures and layers; linear CKA is within images, mean
        over layers. R2 and CKA are those of the networks of the first seed, averaged over folds.
        Every group counts once, but in CKA every patch.

        A set of fewer than `LEAST_GROUPS` groups has no intervals (NaN), and its regressions hold
        out patches instead of groups: near-duplicates may be on both sides.
    """
    layers = list(dict.fromkeys([*early, *deep]))
    features = _features(finetunings, pretrained, patches, layers, once)
    about = {"features": features, "once": once, **options}
    regressions = texture_regressions(finetunings, pretrained, patches, layers, **about)
    rows = [
        *_predictions(finetunings, pretrained, patches, training, once),
        *_readability(regressions, early, deep),
        *_similarity(features, networks.splits(finetunings, patches), patches, early, deep),
    ]
    table = pd.DataFrame(rows, columns=["measure", "value", "low", "high", "groups", "patches"])
    table.loc[table["groups"] < LEAST_GROUPS, ["low", "high"]] = np.nan
    return table


def texture_regressions(
    finetunings: Sequence[Finetuning],
    pretrained: Model,
    patches: PatchSet,
    layers: Sequence[str],
    *,
    features: Networks | None = None,
    folds: int = 5,
    seed: int = 0,
    once: Once = directly,
    **glcm,
) -> dict[str, dict[str, Regression]]:
    """Regress texture on the features of each network by itself, as `r2_interaction` takes it.

    Parameters
    ----------
    finetunings, pretrained, patches, once
        As in `replicate`.
    layers : sequence of str
    features : mapping, optional
        Features of the layers by network, if they are known.
    folds, seed : int
        Folds over groups (of few groups, over patches) in a set that no network was trained on.
    **glcm
        Distances and angles, as in `texture_measures`.

    Returns
    -------
    dict of str to (dict of str to Regression), by network and layer
        ``pretrained`` and ``finetuned``, fitted to the groups of the training and scored on the
        others. In a set that no network was trained on, the finetuned networks of the folds are
        ``finetuned``, ``finetuned 2`` and so on, each regressed on all patches.
    """
    features = features or _features(finetunings, pretrained, patches, layers, once)
    by_name, splits = dict(features), networks.splits(finetunings, patches)
    count = len(np.unique(patches.groups))
    by_patch = splits is None and count < LEAST_GROUPS
    units = np.arange(len(patches)).astype(str) if by_patch else patches.groups
    if splits is None:
        by_name |= networks.numbered("finetuned", _by_fold(features))
    texture = once(texture_measures, patches.images, **glcm)
    about = {"splits": splits, "images": _images(patches), "classes": patches.labels, "seed": seed}
    about |= {"folds": folds if by_patch else min(folds, count), "permutations": 0}
    regressions = {
        name: once(regress, x, texture, units, description=f"texture, {name}", **about)
        for name, x in by_name.items()
    }
    if by_patch:  # scored by groups none the less: patches of one group are no sample
        for by_layer in regressions.values():
            for layer, one in by_layer.items():
                by_layer[layer] = replace(one, groups=patches.groups)
    return regressions


def compare_sets(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Put the tables of several sets into one.

    Parameters
    ----------
    tables : mapping of str to DataFrame, from `replicate`, by title of the set

    Returns
    -------
    DataFrame
        The rows of all tables, with the title in the first column, ``set``.
    """
    return pd.concat(tables, names=["set"]).reset_index(level="set").reset_index(drop=True)


def _features(finetunings, pretrained, patches, layers, once) -> Networks:
    """Compute features of the pretrained network, and of one per fold of the first seed."""
    models = [pretrained, *networks.by_seed(finetunings)["finetuned"]]
    before, *after = (
        once(layer_features, model, patches.images, layers=list(layers)) for model in models
    )
    return {"pretrained": before, "finetuned": {name: [x[name] for x in after] for name in layers}}


def _by_fold(features: Networks) -> list[dict[str, np.ndarray]]:
    """Features by layer of each fold's finetuned network."""
    by_layer = features["finetuned"]
    return [dict(zip(by_layer, fold, strict=True)) for fold in zip(*by_layer.values(), strict=True)]


def _images(patches: PatchSet) -> np.ndarray:
    """Name the image of each patch, within which is measured; of few groups, each is one."""
    few = len(np.unique(patches.groups)) < LEAST_GROUPS
    return patches.groups if few else patches.images_of_groups


def _predictions(finetunings, pretrained, patches, training, once) -> Iterator[tuple]:
    scored = networks.unseen_by_any(finetunings, patches.select(patches.in_tumor_images))
    labels, groups = scored.labels, scored.groups
    finetuned = networks.cross_predict(finetunings, scored, once=once)
    x, fitted = (once(last_features, pretrained, one) for one in (scored, training))
    head, count = np.zeros(len(scored)), np.zeros(len(scored))
    for one in finetunings:  # as `cross_predict` does
        seen, unseen = one.seen(training), one.unseen(scored)
        seen = seen if seen.any() else ~seen  # all, where the groups of the training are unknown
        kernel, bias = fit_head(fitted[seen], training.labels[seen])
        head[unseen] += expit(x[unseen] @ kernel + bias)
        count += unseen
    right, head_right = (
        ((probability >= THRESHOLD) == (labels == 1)).astype(float)
        for probability in (finetuned, head / count)
    )
    counts = len(np.unique(groups)), len(scored)
    yield "AUC, finetuned network", *_auc(finetuned, labels, groups), *counts
    for measure, correct in (
        ("balanced accuracy, finetuned network", right),
        ("balanced accuracy, linear head on pretrained", head_right),
        (LEAD, right - head_right),  # balanced accuracy is linear in what is right
    ):
        yield measure, *balanced_accuracy(correct, labels, groups), *counts


def _auc(probability: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> tuple:
    """Area under the ROC curve, each group counting once, with its jackknife interval."""
    codes, weights = leave_one_out(groups)
    values = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights[:, codes]):
        if len(np.unique(labels[weight > 0])) == 2:
            values[row] = roc_auc_score(labels, probability, sample_weight=weight)
    return float(values[0]), *jackknife_interval(values).tolist()


def _readability(regressions, early, deep) -> list[tuple]:
    values = {}
    for third, layers in (("early", early), ("deep", deep)):
        r2 = {"pretrained": [], "finetuned": []}
        for name, by_layer in regressions.items():
            of_network = [by_layer[layer].r2().mean(axis=(0, 2)) for layer in layers]
            r2[name.partition(" ")[0]] += of_network
        before, after = (np.mean(of_network, axis=0) for of_network in r2.values())
        values[f"R2 of texture, {third} layers, pretrained"] = before
        values[f"R2 of texture, {third} layers, finetuned"] = after
        values[GAIN.format(third)] = after - before
    interaction = r2_interaction(regressions, early, deep)
    values[GAIN.format("deep minus early")] = interaction["difference"].to_numpy()
    images = interaction["image"].to_numpy()[1:]
    counts = len(images), len(regressions["pretrained"][early[0]].groups)
    return [
        (measure, x[0], *jackknife_interval(x, strata=images), *counts)
        for measure, x in values.items()
    ]


def _similarity(features: Networks, splits: Folds | None, patches, early, deep) -> Iterator[tuple]:
    pairs, images = [("pretrained", "finetuned")], _images(patches)
    # In a set that no network was trained on, each is compared on all patches.
    compared = [features] if splits else [{**features, "finetuned": x} for x in _by_fold(features)]
    tables = [cka_left_out(x, pairs, patches.groups, splits, images=images) for x in compared]
    left_out = sum(tables) / len(tables)
    scored = np.concatenate([test for _, test in splits]) if splits else np.arange(len(patches))
    counts = len(np.unique(patches.groups[scored])), len(np.unique(scored))
    for third, layers in (("early", early), ("deep", deep)):
        values = left_out.loc[left_out.index.isin(layers, level="layer")].mean().to_numpy()
        interval = jackknife_interval(values)
        yield f"CKA of pretrained and finetuned, {third} layers", values[0], *interval, *counts
