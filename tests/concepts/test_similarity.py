from itertools import permutations

import numpy as np
import pytest

from utils.claims import judge_reuse
from utils.concepts import similarity


def cka(*arguments, **options):
    return similarity.cka_by_layer(similarity.cka_left_out(*arguments, **options))


def linear_cka(one, other):
    networks, groups = {"one": {"layer": one}, "other": {"layer": other}}, np.zeros(len(one))
    return cka(networks, [("one", "other")], groups)["cka"][0]


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
    assert cka(*arguments)["cka"][0] > 0.9
    assert abs(cka(*arguments, images=images)["cka"][0]) < 0.1


def test_cka_by_layer():
    generator = np.random.default_rng(0)
    signal = generator.normal(size=(80, 10))
    networks = {
        "pretrained": {"a": signal, "b": signal},
        "finetuned": {"a": signal + 0.1 * generator.normal(size=(80, 10)), "b": -signal[:, ::-1]},
        "random": {"a": generator.normal(size=(80, 10)), "b": generator.normal(size=(80, 10))},
    }
    pairs = [("pretrained", "finetuned"), ("pretrained", "random")]
    groups = np.repeat(np.arange(8), 10)
    table = cka(networks, pairs, groups).set_index(["other", "layer"])
    assert table.loc[("finetuned", "a"), "cka"] > 0.95
    assert table.loc[("finetuned", "b"), "cka"] == pytest.approx(1)
    assert table.loc[("random", "a"), "low"] < 0 < table.loc[("random", "a"), "high"]
    single = linear_cka(networks["pretrained"]["a"], networks["finetuned"]["a"])
    assert table.loc[("finetuned", "a"), "cka"] == pytest.approx(single)
    assert np.isnan(cka(networks, pairs, np.zeros(80))["low"]).all()
    kept = groups != 3
    without = {n: {k: x[kept] for k, x in layers.items()} for n, layers in networks.items()}
    left_out = similarity.cka_left_out(networks, pairs, groups)
    expected = cka(without, pairs, groups[kept]).set_index(["one", "other", "layer"])["cka"]
    np.testing.assert_allclose(left_out[3], expected)


def test_where_features_are_kept_is_judged_by_the_difference():
    generator = np.random.default_rng(0)
    signal, groups = generator.normal(size=(80, 10)), np.repeat(np.arange(8), 10)
    changed = signal + 2 * generator.normal(size=(80, 10))
    networks = {
        "pretrained": {"a": signal, "b": signal},
        "finetuned": {"a": signal, "b": changed},
        "random": {name: generator.normal(size=(80, 10)) for name in "ab"},
    }
    pairs = [("pretrained", "finetuned"), ("pretrained", "random")]
    left_out = similarity.cka_left_out(networks, pairs, groups)
    assert "are kept more in early than in deep layers" in judge_reuse(left_out, ["a", "b"])
    assert "are kept more in deep than in early layers" in judge_reuse(left_out, ["b", "a"])
    networks["finetuned"]["b"] = signal + 1e-3 * generator.normal(size=(80, 10))
    networks["finetuned"]["a"] = signal + 1e-3 * generator.normal(size=(80, 10))
    left_out = similarity.cka_left_out(networks, pairs, groups)
    assert "are kept not measurably more" in judge_reuse(left_out, ["a", "b"])


def test_feature_changes_are_those_that_were_made():
    generator = np.random.default_rng(0)
    before = {"layer": generator.normal(size=(60, 8))}
    step = generator.normal(size=(60, 1))
    direction = np.eye(8)[2:3]
    images = np.repeat([0, 1], 30)
    slopes = {"layer": np.repeat(direction, 60, axis=0)}

    def changes(change, **options):
        after = {"layer": before["layer"] + change}
        return similarity.feature_changes(before, after, slopes, images, **options).iloc[0]

    one = changes(step @ direction)
    assert one["directions"] == pytest.approx(1) and one["first"] == pytest.approx(1)
    assert one["head"] == pytest.approx(1) and one["chance"] == 1 / 8
    elsewhere = changes(step @ np.eye(8)[5:6] + 7 * images[:, None])  # the same within an image
    assert elsewhere["head"] == pytest.approx(0, abs=1e-12)
    assert elsewhere["relative"] == pytest.approx(one["relative"])
    everywhere = changes(generator.normal(size=(60, 8)))
    assert 6 < everywhere["directions"] <= 8 and 0.03 < everywhere["head"] < 0.3
    same = changes(0)
    assert same["relative"] < 1e-100 and same["head"] == 0
    # Of folds, each with networks of its own, the mean over their held-out patches.
    halves = [(np.arange(30, 60), np.arange(30)), (np.arange(30), np.arange(30, 60))]
    of_folds = {"layer": [before["layer"], 2 * before["layer"]]}
    after = {"layer": [x + step @ direction for x in of_folds["layer"]]}
    slopes = {"layer": [slopes["layer"], slopes["layer"]]}
    mean = similarity.feature_changes(of_folds, after, slopes, images, halves).iloc[0]
    expected = [
        np.linalg.norm(step[test] - step[test].mean())
        / np.linalg.norm(x[test] - x[test].mean(axis=0))
        for x, (_, test) in zip(of_folds["layer"], halves, strict=True)
    ]
    assert mean["relative"] == pytest.approx(np.mean(expected))


def test_networks_of_folds_are_compared_on_their_own_held_out_patches():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 10)
    pretrained = {"layer": generator.normal(size=(80, 6))}
    folds = [generator.normal(size=(80, 6)) + k * pretrained["layer"] for k in (1, 2)]
    networks = {"pretrained": pretrained, "finetuned": {"layer": folds}}
    splits = [(np.flatnonzero(groups >= 4), np.flatnonzero(groups < 4))]
    splits.append(splits[0][::-1])
    pairs = [("pretrained", "finetuned")]
    left_out = similarity.cka_left_out(networks, pairs, groups, splits)
    expected = []
    for features, (_, test) in zip(folds, splits, strict=True):
        pair = {"pretrained": {"layer": pretrained["layer"][test]}}
        pair["finetuned"] = {"layer": features[test]}
        expected.append(similarity.cka_left_out(pair, pairs, groups[test]).iloc[0])
    assert left_out["none"].iloc[0] == pytest.approx(np.mean([one["none"] for one in expected]))
    assert expected[0]["none"] < expected[1]["none"]
    assert left_out[1].iloc[0] == pytest.approx((expected[0][1] + expected[1]["none"]) / 2)
    assert left_out.shape == (1, 9)
