from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from utils.concepts import tumor_by_layer
from utils.concepts.probes import balanced_accuracy


def test_balanced_accuracy_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels, groups = generator.integers(0, 2, 240), np.repeat(np.arange(12), 20)
    predicted = np.where(generator.random(240) < 0.8, labels, 1 - labels)
    value, low, high = balanced_accuracy(predicted == labels, labels, groups)
    assert value == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert 0.6 < low < value < high < 1
    alone = balanced_accuracy(np.ones(4), np.array([0, 0, 1, 1]), np.array(list("aabb")))
    assert alone[0] == 1 and np.isnan(alone[1:]).all()  # a class without its only group


def test_layers_are_scored_within_tumour_images_on_unseen_groups(colored_patches):
    generator = np.random.default_rng(0)
    colored_patches = replace(colored_patches, labels=np.arange(64) % 2)  # both in each group
    signal = np.where(colored_patches.labels == 1, 1.0, -1.0)[:, None]
    layers = {
        "knows": np.float32(signal + generator.normal(0, 0.5, (64, 6))),
        "knows nothing": np.float32(generator.normal(size=(64, 6))),
    }
    other = {name: np.float32(generator.normal(size=(64, 6))) for name in layers}
    halves = np.arange(32), np.arange(32, 64)
    splits = [halves, halves[::-1]]
    features = {"one": layers, "two": {name: [layers[name], other[name]] for name in layers}}
    table = tumor_by_layer(features, colored_patches, splits).set_index(["network", "layer"])
    assert table.loc[("one", "knows"), "balanced_accuracy"] > 0.95
    assert 0.3 < table.loc[("one", "knows nothing"), "balanced_accuracy"] < 0.7
    correct = np.zeros(64, bool)
    for fold, (train, test) in enumerate(splits):
        x = (layers, other)[fold]["knows"]
        scaler = StandardScaler().fit(x[train])
        head = LogisticRegression(class_weight="balanced").fit(
            scaler.transform(x[train]), colored_patches.labels[train]
        )
        correct[test] = head.predict(scaler.transform(x[test])) == colored_patches.labels[test]
    inside = colored_patches.in_tumor_images
    expected = balanced_accuracy(
        correct[inside], colored_patches.labels[inside], colored_patches.groups[inside]
    )
    found = table.loc[("two", "knows"), ["balanced_accuracy", "low", "high"]]
    np.testing.assert_allclose(found.to_numpy(float), expected)
    assert (table["patches"] == inside.sum()).all()
