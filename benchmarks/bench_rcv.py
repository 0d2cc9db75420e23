"""How long does the whole analysis of regression concept vectors take, and what saves the time?

    python benchmarks/bench_rcv.py [--backbone inceptionv3]

One run times the analysis from pixels to tables: 700 patches, 3 networks, 9 layers, 6 concepts and
100 permutations. Two others time its parts against the usual way on the same data: one forward pass
for each concept and layer, as the paper's code does it, against one for all; and scikit-learn's
nested grid search, concept by concept, against one decomposition for all concepts and permutations.
If himalaya is installed (pip install himalaya==0.4.11), its ridge regression of all targets at once
is compared, too. Nothing else should run beside.
"""

import argparse
import sys
import time
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from utils import concepts
from utils.concepts.ridge import INNER_FOLDS, PENALTIES, Ridge, choose_penalties
from utils.networks import (
    choose_backbone,
    layer_features,
    layer_features_and_gradients,
    load_finetunings,
    load_networks,
)
from utils.patches import load_sample
from utils.results import Results

PATCHES, PERMUTATIONS, FEW = 700, 100, 64
LAYERS = {
    "inceptionv3": ["mixed5b", "mixed5c", "mixed5d", "mixed6a", "mixed6c"]
    + ["mixed6e", "mixed7a", "mixed7b", "mixed7c"],
    "densenet121": ["conv1", "dense1", "transition1", "dense2", "transition2"]
    + ["dense3_12", "dense3", "transition3", "dense4"],
}
RESULTS = Path(__file__).resolve().parent / "results"


class Clock:
    """Seconds of each part, in order."""

    def __init__(self):
        self.rows, self.begun = [], time.perf_counter()

    def stop(self, step):
        now = time.perf_counter()
        self.rows.append((step, now - self.begun))
        self.begun = now


def whole(networks, patches, layers):
    clock = Clock()
    texture = concepts.texture_measures(patches.images)
    clock.stop("texture measures")
    features = {}
    for name, model in networks.items():
        if name == "finetuned":
            features[name], gradients = layer_features_and_gradients(
                model, patches.images, layers=layers
            )
        else:
            features[name] = layer_features(model, patches.images, layers=layers)
    clock.stop("features of 3 networks, gradients of the finetuned one")
    for x in features.values():
        concepts.analysis.in_sample_r2(x, texture)
    clock.stop("least squares, in-sample")
    regressions = {
        name: concepts.regress(
            x,
            texture,
            patches.groups,
            gradients=gradients if name == "finetuned" else None,
            permutations=PERMUTATIONS,
        )
        for name, x in features.items()
    }
    clock.stop("ridge, held out, with permutations")
    for by_layer in regressions.values():
        concepts.analysis.r2_table(by_layer)
    clock.stop("intervals and significance")
    concepts.analysis.relevance(regressions["finetuned"])
    clock.stop("relevance")
    pairs = [("pretrained", "finetuned"), ("pretrained", "random")]
    concepts.cka_by_layer(concepts.cka_left_out(features, pairs, patches.groups))
    clock.stop("CKA")
    table = pd.DataFrame(clock.rows, columns=["part", "seconds"])
    table.loc[len(table)] = ["all", table["seconds"].sum()]
    return table, features["pretrained"], texture


def passes(model, images, layers, count):
    """One pass for all layers against one for each concept and layer, each compiled beforehand."""
    layer_features(model, images, layers=layers)
    clock = Clock()
    layer_features(model, images, layers=layers)
    clock.stop("one pass for all")
    starts = range(0, len(images), 32)
    batches = [tf.constant(model.preprocess(images[start : start + 32])) for start in starts]
    cut = {}
    for layer in layers:
        network = model.submodel([layer])
        cut[layer] = tf.function(network)
        cut[layer](batches[0], training=False)
    clock.begun = time.perf_counter()
    for _ in tqdm(range(count), desc="one pass per concept and layer", unit="concept"):
        for layer in layers:
            for batch in batches:
                tf.reduce_mean(cut[layer](batch, training=False)[layer], axis=(1, 2)).numpy()
    clock.stop("one pass per concept and layer")
    return dict(clock.rows)


def both_regressions(x, texture, groups):
    """Both ways on one layer; scikit-learn without permutations, so that it ends."""
    clock = Clock()
    ours = concepts.cross_validated_r2({"layer": x}, texture, groups, permutations=PERMUTATIONS)
    clock.stop("ours, with permutations")
    outer = list(GroupKFold(5, shuffle=True, random_state=0).split(x, groups=groups))
    theirs = []
    for name in tqdm(texture, desc="scikit-learn's grid search", unit="concept"):
        y, predicted = texture[name].to_numpy(), np.empty(len(x))
        for train, test in outer:
            search = GridSearchCV(
                make_pipeline(StandardScaler(), SklearnRidge()),
                {"ridge__alpha": PENALTIES},
                cv=GroupKFold(INNER_FOLDS),
                scoring="neg_mean_squared_error",
            )
            predicted[test] = search.fit(x[train], y[train], groups=groups[train]).predict(x[test])
        theirs.append(1 - np.mean((y - predicted) ** 2) / y.var())
    clock.stop("scikit-learn, without")
    return dict(clock.rows), ours["r2"].to_numpy(), np.array(theirs)


def himalaya(x, texture, groups):
    """Ours and himalaya's ridge of the same targets, folds and penalties; the fastest of three."""
    from himalaya.kernel_ridge import KernelRidgeCV

    generator = np.random.default_rng(0)
    y = texture.to_numpy()
    y = np.hstack([y, *(generator.permutation(y) for _ in range(PERMUTATIONS))])
    x, y = StandardScaler().fit_transform(x.astype(np.float64)), StandardScaler().fit_transform(y)
    train, test = next(GroupKFold(5, shuffle=True, random_state=0).split(x, groups=groups))
    z, codes = x[train], groups[train]
    seconds = {"ours": [], "himalaya": []}
    for _ in range(3):
        clock = Clock()
        penalties = choose_penalties(z, y[train], codes)
        ridge = Ridge(z, y[train])
        ours = ridge.predict(ridge.project(x[test]), penalties)
        clock.stop("ours")
        folds = GroupKFold(INNER_FOLDS).split(z, groups=codes)
        # Its regression has no intercept: both sides are centred.
        regression = KernelRidgeCV(PENALTIES, cv=list(folds))
        regression.fit(z - z.mean(axis=0), y[train] - y[train].mean(axis=0))
        theirs = regression.predict(x[test] - z.mean(axis=0)) + y[train].mean(axis=0)
        clock.stop("himalaya")
        for name, value in clock.rows:
            seconds[name].append(value)
    ours_seconds, their_seconds = (min(values) for values in seconds.values())
    same = np.mean(np.abs(ours - theirs).max(axis=0) < 1e-6)
    print(
        f"{y.shape[1]} targets, {z.shape[0]} x {z.shape[1]} features: ours {ours_seconds:.2f} s, "
        f"himalaya {their_seconds:.2f} s ({their_seconds / ours_seconds:.1f} times); "
        f"predictions of {same:.0%} of the targets are equal to 1e-6"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="auto")
    arguments = parser.parse_args()
    backbone = choose_backbone(arguments.backbone)
    layers = LAYERS[backbone]
    networks = load_networks(backbone, load_finetunings(backbone), random=1)
    sample = load_sample()
    patches = sample.select(np.arange(min(PATCHES, len(sample))))
    print(
        f"{networks['pretrained'].backbone.title}: {patches}, {len(layers)} layers, "
        f"{len(networks)} networks, {PERMUTATIONS} permutations"
    )
    results = Results(RESULTS, backbone)
    table, features, texture = whole(networks, patches, layers)
    print(table.round(1).to_string(index=False))
    results.table(table, "rcv_whole.csv")
    count = len(texture.columns)
    one, many = passes(networks["pretrained"], patches.images[:FEW], layers, count).values()
    print(
        f"features of {FEW} patches: {one:.2f} s by one pass for all, {many:.1f} s by one pass for "
        f"each of {count} concepts and {len(layers)} layers: {many / one:.0f} times"
    )
    layer = layers[len(layers) // 2]
    seconds, ours, theirs = both_regressions(features[layer], texture, patches.groups)
    all_ours, all_theirs = seconds.values()
    targets = count * (1 + PERMUTATIONS)
    each, peer_each = all_ours / targets, all_theirs / count
    print(
        f"{layer}, seconds per target: {each:.4f} by one decomposition ({targets} targets), "
        f"{peer_each:.2f} by scikit-learn's grid search: {peer_each / each:.0f} times; "
        f"largest difference of R2 {np.abs(ours - theirs).max():.3f}"
    )
    summary = pd.DataFrame(
        {
            "what": ["one pass per concept and layer", "scikit-learn's grid search, one target"],
            "seconds": [many, peer_each],
            "ours_seconds": [one, each],
            "ratio": [many / one, peer_each / each],
        }
    )
    results.table(summary, "rcv_parts.csv")
    if find_spec("himalaya"):
        for name in (layers[0], layer, layers[-1]):
            himalaya(features[name], texture, patches.groups)


if __name__ == "__main__":
    main()
