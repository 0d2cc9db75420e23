from dataclasses import replace
from itertools import permutations

import keras
import numpy as np
import pandas as pd
import pytest

from utils.claims import judge_reuse
from utils.concepts import similarity
from utils.networks import Model, load_model


def linear_cka(one, other):
    networks, groups = {"one": {"layer": one}, "other": {"layer": other}}, np.zeros(len(one))
    return similarity.cka_by_layer(networks, [("one", "other")], groups)["cka"][0]


def test_equal_features_have_a_cka_of_one():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(100, 20))
    rotation = np.linalg.qr(generator.normal(size=(20, 20)))[0]
    assert linear_cka(features, 3 * features @ rotation + 7) == pytest.approx(1)
    assert np.isnan(linear_cka(features, np.ones((100, 5))))


def test_independent_features_have_none_however_many_there_are():
    generator = np.random.default_rng(0)
    values = [
        linear_cka(generator.normal(size=(60, 500)), generator.normal(size=(60, 500)))
        for _ in range(20)
    ]
    assert abs(np.mean(values)) < 0.02  # the biased estimator gives 0.9 here


def test_hsic_is_the_mean_over_four_different_patches():
    """Song et al. (2012), equation 4, over all ordered quadruples."""
    generator = np.random.default_rng(0)
    k, m = (a @ a.T for a in generator.normal(size=(2, 6, 3)))
    terms = [
        k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q]
        for i, j, q, r in permutations(range(6), 4)
    ]
    assert similarity._hsic(k, m) == pytest.approx(np.mean(terms))


def test_what_tells_images_apart_does_not_make_features_alike():
    generator = np.random.default_rng(0)
    images = np.repeat([0, 1], 40)
    networks = {
        name: {"layer": generator.normal(size=(80, 10)) + 9 * images[:, None]} for name in "ab"
    }
    arguments = networks, [("a", "b")], np.repeat(np.arange(8), 10)
    assert similarity.cka_by_layer(*arguments)["cka"][0] > 0.9
    assert abs(similarity.cka_by_layer(*arguments, images=images)["cka"][0]) < 0.1


def test_cka_by_layer():
    generator = np.random.default_rng(0)
    signal = generator.normal(size=(80, 10))
    networks = {
        "pretrained": {"a": signal, "b": signal},
        "finetuned": {"a": signal + 0.1 * generator.normal(size=(80, 10)), "b": -signal[:, ::-1]},
        "random": {"a": generator.normal(size=(80, 10)), "b": generator.normal(size=(80, 10))},
    }
    pairs = [("pretrained", "finetuned"), ("pretrained", "random")]
    table = similarity.cka_by_layer(networks, pairs, np.repeat(np.arange(8), 10))
    found = table.set_index(["other", "layer"])
    assert found.loc[("finetuned", "a"), "cka"] > 0.95
    assert found.loc[("finetuned", "b"), "cka"] == pytest.approx(1)
    assert found.loc[("random", "a"), "low"] < 0 < found.loc[("random", "a"), "high"]
    single = linear_cka(networks["pretrained"]["a"], networks["finetuned"]["a"])
    assert found.loc[("finetuned", "a"), "cka"] == pytest.approx(single)
    assert np.isnan(similarity.cka_by_layer(networks, pairs, np.zeros(80))["low"]).all()
    assert "more in deep than in early layers" in judge_reuse(table)
    swapped = pd.concat([table[table["layer"] == "b"], table[table["layer"] == "a"]])
    assert "more in early than in deep layers" in judge_reuse(swapped)
    unsure = table.assign(low=table["cka"] - 1, high=table["cka"] + 1)
    assert "not measurably more" in judge_reuse(unsure)


def test_weight_change_is_that_of_each_part(tiny_model):
    network = keras.models.clone_model(tiny_model.network)
    network.set_weights(tiny_model.network.get_weights())
    kernel = network.get_layer("deep").kernel
    kernel.assign(1.5 * kernel)
    table = similarity.weight_change(tiny_model, replace(tiny_model, network=network))
    assert table["layer"].tolist() == ["early", "late"]
    np.testing.assert_allclose(table["relative_change"], [0, 0.5], atol=1e-6)
    np.testing.assert_allclose(table["cosine"], 1)
    with pytest.raises(ValueError, match="not of the same backbone"):
        similarity.weight_change(tiny_model, load_model("random", "densenet121"))


def test_every_kernel_of_a_backbone_is_counted_once():
    model = load_model("random", "densenet121")
    half = keras.models.clone_model(model.network)
    half.set_weights(
        [
            2 * value if variable.name == "kernel" else value
            for variable, value in zip(
                model.network.weights, model.network.get_weights(), strict=True
            )
        ]
    )
    doubled = Model(half, model.backbone, "doubled", "", "")
    table = similarity.weight_change(model, doubled)
    np.testing.assert_allclose(table["relative_change"], 1, rtol=1e-6)
    assert set(table["layer"]) <= set(model.backbone.layers) and len(table) >= 8


def test_networks_of_folds_are_compared_on_their_own_held_out_patches():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 10)
    pretrained = {"layer": generator.normal(size=(80, 6))}
    folds = [generator.normal(size=(80, 6)) + k * pretrained["layer"] for k in (1, 2)]
    networks = {"pretrained": pretrained, "finetuned": {"layer": folds}}
    splits = [(np.flatnonzero(groups >= 4), np.flatnonzero(groups < 4))]
    splits.append(splits[0][::-1])
    pairs = [("pretrained", "finetuned")]
    found = similarity.cka_of_folds(networks, pairs, groups, splits).iloc[0]
    expected = []
    for features, (_, test) in zip(folds, splits, strict=True):
        pair = {"pretrained": {"layer": pretrained["layer"][test]}}
        pair["finetuned"] = {"layer": features[test]}
        expected.append(similarity.cka_by_layer(pair, pairs, groups[test]).iloc[0]["cka"])
    assert found["cka"] == pytest.approx(np.mean(expected)) and expected[0] < expected[1]
    one = {"pretrained": pretrained, "finetuned": {"layer": folds[0]}}
    pd.testing.assert_frame_equal(
        similarity.cka_of_folds(one, pairs, groups), similarity.cka_by_layer(one, pairs, groups)
    )
