import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from utils.concepts import TEXTURE, texture_measures
from utils.rcv import _grouped_r2, cross_validated_r2, in_sample_r2, layer_features


def test_texture_by_hand():
    stripes = np.zeros((1, 6, 6, 3), np.uint8)
    stripes[:, :, 1::2] = 10  # grey levels 0 and 10 in turn
    near = texture_measures(stripes, distances=[1]).iloc[0]
    far = texture_measures(stripes, distances=[2]).iloc[0]
    # One pixel apart: (0, 10) and (10, 0), half each. Two apart: (0, 0) and (10, 10), half each.
    expected = {"contrast": 100, "dissimilarity": 10, "homogeneity": 1 / 101, "ASM": 0.5}
    expected |= {"energy": np.sqrt(0.5), "correlation": -1}
    np.testing.assert_allclose(near[list(expected)], list(expected.values()), atol=1e-9)
    np.testing.assert_allclose(far[list(TEXTURE)], [0, 0, 1, 0.5, np.sqrt(0.5), 1], atol=1e-9)
    with pytest.raises(ValueError, match="float64"):
        texture_measures(stripes / 255)


def test_features_are_pooled_activations_of_one_pass(tiny_model, images):
    features = layer_features(tiny_model, images, batch_size=2)
    assert list(features) == ["early", "late"]
    for name, pooled in features.items():
        outputs = tiny_model.submodel([name])(tiny_model.preprocess(images), training=False)[name]
        np.testing.assert_allclose(pooled, outputs.numpy().mean(axis=(1, 2)), atol=1e-6)


@pytest.fixture
def planted():
    """A concept that is linear in the features but for noise, in 12 groups; and a null."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(480, 20))
    signal = features @ generator.normal(size=20)
    noise = generator.normal(size=480) * signal.std() / 2  # R2 of 1 / (1 + 1/4)
    measures = pd.DataFrame({"planted": signal + noise, "null": generator.normal(size=480)})
    return {"layer": features.astype(np.float32)}, measures, np.repeat(np.arange(12), 40)


def test_planted_concept_is_recovered_and_a_null_is_not(planted):
    table = cross_validated_r2(*planted, shuffles=10).set_index("concept")
    assert abs(table.loc["planted", "r2"] - 0.8) < 0.05
    assert table.loc["planted", "low"] < table.loc["planted", "r2"] < table.loc["planted", "high"]
    assert table.loc["null", "r2"] <= 0.02
    assert table["null_high"].max() <= 0.05


def test_in_sample_fit_flatters(planted):
    features, measures, groups = planted
    wide = {"wide": np.random.default_rng(1).normal(size=(480, 600)).astype(np.float32)}
    assert in_sample_r2(wide, measures)["r2"].min() > 0.999
    assert cross_validated_r2(wide, measures, groups, shuffles=2)["r2"].max() < 0.1
    x, y = features["layer"], measures["planted"]
    expected = LinearRegression().fit(x, y).score(x, y)
    np.testing.assert_allclose(in_sample_r2(features, measures)["r2"][0], expected, rtol=1e-6)


def test_groups_do_not_leak():
    """Features that name the group predict a concept of the group only if the group is known."""
    groups = np.repeat(np.arange(15), 20)
    generator = np.random.default_rng(0)
    features = {"layer": np.eye(15)[groups] + generator.normal(0, 0.01, (300, 15))}
    measures = pd.DataFrame({"of the group": generator.normal(size=15)[groups]})
    assert in_sample_r2(features, measures)["r2"][0] > 0.99
    assert cross_validated_r2(features, measures, groups, shuffles=2)["r2"][0] < 0.1


def test_grouped_r2_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    truth = generator.normal(5, 1, (30, 2))
    predicted = truth + generator.normal(size=(30, 2))
    codes = np.repeat(np.arange(5), 6)
    draws = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 0, 2]])
    found = _grouped_r2(truth, predicted, codes, draws)
    for draw, scores in zip(draws, found, strict=True):
        rows = np.concatenate([np.flatnonzero(codes == g) for g in np.repeat(np.arange(5), draw)])
        expected = r2_score(truth[rows], predicted[rows], multioutput="raw_values")
        np.testing.assert_allclose(scores, expected)


def test_bad_measures(planted):
    features, measures, groups = planted
    with pytest.raises(ValueError, match=r"'flat' is 1\.0 for every patch"):
        cross_validated_r2(features, measures.assign(flat=1.0), groups)
    with pytest.raises(ValueError, match="not finite for 1 patches"):
        holes = measures["null"].where(np.arange(480) > 0)
        cross_validated_r2(features, measures.assign(holes=holes), groups)
    with pytest.raises(ValueError, match="2 groups for 5 folds"):
        cross_validated_r2(features, measures, groups % 2)
    with pytest.raises(ValueError, match="same PatchSet"):
        in_sample_r2({"layer": features["layer"][:9]}, measures)
