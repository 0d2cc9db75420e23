from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.preprocessing import StandardScaler

from utils.claims import judge_c3, judge_relevance
from utils.concepts import (
    concept_vectors,
    cross_validated_r2,
    in_sample_r2,
    learning_curve,
    r2_difference,
    r2_table,
    regress,
    regression,
    relevance,
    ridge,
)
from utils.networks import Model, constant_share, layer_features, layer_features_and_gradients
from utils.statistics import grouped_r2


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
    row = in_sample_r2(features, measures).iloc[0]
    np.testing.assert_allclose(row["r2"], expected, rtol=1e-6)
    np.testing.assert_allclose(row["adjusted_r2"], 1 - (1 - expected) * 479 / 459, rtol=1e-6)
    assert in_sample_r2(wide, measures)["adjusted_r2"].isna().all()


def test_groups_do_not_leak():
    """Features that name the group predict a concept of the group only if the group is known."""
    groups = np.repeat(np.arange(15), 20)
    generator = np.random.default_rng(0)
    features = {"layer": np.eye(15)[groups] + generator.normal(0, 0.01, (300, 15))}
    measures = pd.DataFrame({"of the group": generator.normal(size=15)[groups]})
    assert in_sample_r2(features, measures)["r2"][0] > 0.99
    assert cross_validated_r2(features, measures, groups, shuffles=2)["r2"][0] < 0.1


def test_regression_is_that_of_scikit_learn():
    """Nested cross-validation over groups, concept by concept, with features of other scales."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(240, 30)) * generator.uniform(2, 10, 30) + 5
    weights = generator.normal(size=(30, 3)) * (generator.random((30, 3)) < 0.3)
    y = pd.DataFrame(
        x @ weights + generator.normal(size=(240, 3)) * [1, 30, 300], columns=list("abc")
    )
    groups = np.repeat(np.arange(12), 20)
    found = regress({"layer": x}, y, groups, folds=3, shuffles=2)["layer"]
    outer = GroupKFold(3, shuffle=True, random_state=0)
    for fold, (train, test) in enumerate(outer.split(x, groups=groups)):
        scaler = StandardScaler().fit(x[train])
        inner = list(GroupKFold(4).split(train, groups=groups[train]))
        for column, name in enumerate(y):
            search = GridSearchCV(
                Ridge(), {"alpha": ridge.PENALTIES}, cv=inner, scoring="neg_mean_squared_error"
            )
            search.fit(scaler.transform(x[train]), y[name].to_numpy()[train])
            assert found.penalties[0, fold, column] == search.best_params_["alpha"]
            predicted = search.predict(scaler.transform(x[test]))
            np.testing.assert_allclose(found.predicted[0, test, column], predicted, rtol=1e-6)
    assert len(np.unique(found.penalties)) > 1


def test_a_channel_that_hardly_ever_answers_does_not_break_the_fit(planted):
    """One held-out patch has a value that is thousands of training deviations off."""
    features, measures, groups = planted
    rare = np.zeros((480, 1), np.float32)
    rare[100], rare[300] = 1e-4, 1
    with_rare = {"layer": np.hstack([features["layer"], rare])}
    found = cross_validated_r2(with_rare, measures, groups, shuffles=0)["r2"]
    expected = cross_validated_r2(features, measures, groups, shuffles=0)["r2"]
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_concept_vectors_point_where_the_concept_was_planted():
    generator = np.random.default_rng(0)
    scale = generator.uniform(0.1, 10, 12)
    x = generator.normal(size=(600, 12)) * scale
    weights = generator.normal(size=12)
    signal = x @ weights
    y = pd.DataFrame({"planted": signal + generator.normal(size=600) * signal.std() / 5})
    vectors = concept_vectors({"layer": x}, y, np.repeat(np.arange(12), 50))["layer"]
    assert vectors.shape == (12, 1)
    vector = vectors["planted"].to_numpy()
    np.testing.assert_allclose(np.linalg.norm(vector), 1)
    weighted = (vector * scale) @ (weights * scale)  # channels that hardly vary tell little
    norms = np.linalg.norm(vector * scale) * np.linalg.norm(weights * scale)
    assert weighted / norms > 0.99


def test_gradients_against_finite_differences(tiny_classifier, images, tail):
    features, gradients = layer_features_and_gradients(tiny_classifier, images, batch_size=2)
    for layer, pooled in layer_features(tiny_classifier, images).items():
        np.testing.assert_allclose(features[layer], pooled, atol=1e-6)
    activations = tiny_classifier.submodel(["early"])(tiny_classifier.preprocess(images))["early"]
    for channel in range(4):
        move = 1e-3 * np.eye(4, dtype=np.float32)[channel]
        up, down = (tail(activations + sign * move).numpy()[:, 0] for sign in (1, -1))
        slope = (up - down) / 2e-3
        np.testing.assert_allclose(gradients["early"][:, channel], slope, atol=0.02, rtol=0.02)
    vector = np.float32([0.5, -0.5, 0.1, 0.7])  # along an RCV, not only along channels
    up, down = (tail(activations + sign * 1e-3 * vector).numpy()[:, 0] for sign in (1, -1))
    np.testing.assert_allclose(
        gradients["early"] @ vector, (up - down) / 2e-3, atol=0.03, rtol=0.03
    )
    with pytest.raises(ValueError, match="spatial extent"):
        layer_features(tiny_classifier, images, layers=["pool"])
    with pytest.raises(ValueError, match="finetune first"):
        layer_features_and_gradients(
            replace(tiny_classifier, network=tiny_classifier.submodel(["late"])), images
        )


def test_relevance_finds_the_concept_that_the_output_follows(planted):
    features, measures, groups = planted
    generator = np.random.default_rng(5)
    vector = concept_vectors(features, measures, groups)["layer"]["planted"].to_numpy()
    slopes = vector + 0.05 * generator.normal(size=(480, 20))
    gradients = {"layer": slopes.astype(np.float32)}
    found = regress(features, measures, groups, gradients=gradients, shuffles=60)
    table = relevance(found, gradients, groups).set_index("concept")
    planted = table.loc["planted"]
    assert planted["positive"] == 1 and planted["br"] > 5
    np.testing.assert_allclose(planted["br"], planted["r2"] * planted["ratio"])
    assert planted["low"] < planted["ratio"] < planted["high"]
    assert planted["q_random"] < 0.05 and planted["q_shuffled"] < 0.05
    assert abs(table.loc["null", "br"]) < 0.5 and table.loc["null", "q_random"] > 0.05
    own = slopes @ vector  # the same from the definition
    assert planted["ratio"] == pytest.approx(own.mean() / own.std(), rel=0.1)
    constant = {"layer": np.tile(np.float32(vector), (480, 1))}
    linear = regress(features, measures, groups, gradients=constant, shuffles=10)
    linear = relevance(linear, constant, groups).set_index("concept")
    assert linear[["ratio", "br", "p_random", "q_shuffled"]].isna().all(axis=None)
    assert linear.loc["planted", "positive"] == 1
    judged = judge_relevance(table.reset_index().assign(network="finetuned"))
    assert "1 of 2 concepts and layers" in judged and "planted at layer, Br +" in judged
    with pytest.raises(ValueError, match="without gradients"):
        relevance(regress(features, measures, groups, shuffles=2), gradients, groups)


def test_null_exchanges_whole_groups():
    codes = np.repeat([0, 1, 2, 3], [5, 3, 4, 5])
    generator = np.random.default_rng(0)
    orders = [regression._exchange_groups(codes, generator) for _ in range(20)]
    for order in orders:
        assert sorted(order) == list(range(17))
        assert np.sum(np.diff(order) != 1) <= 3  # at most as many seams as between groups
    assert len({tuple(order) for order in orders}) > 5


def test_null_keeps_what_neighbours_share():
    """Within groups of unequal size, values stay alike; single patches' shuffles lose that."""
    generator = np.random.default_rng(0)
    codes = np.repeat(np.arange(12), generator.integers(15, 25, 12))
    values = generator.normal(size=12)[codes]

    def within(order):
        return pd.Series(values[order]).groupby(codes).var(ddof=0).mean() / values.var()

    exchanged = [within(regression._exchange_groups(codes, generator)) for _ in range(20)]
    shuffled = [within(generator.permutation(len(codes))) for _ in range(20)]
    assert np.mean(exchanged) < 0.4 < 0.8 < np.mean(shuffled)


def test_repeats_and_significance(planted):
    table = cross_validated_r2(*planted, shuffles=39, repeats=3).set_index("concept")
    assert table["sd_over_repeats"].between(1e-6, 0.05).all()
    assert table.loc["planted", "p"] == 1 / 40 and table.loc["planted", "q"] == 2 / 40
    assert table.loc["null", "p"] > 0.05
    once = cross_validated_r2(*planted, shuffles=0)
    assert once[["sd_over_repeats", "null_high", "p", "q"]].isna().all(axis=None)


def test_differences_are_paired(planted):
    features, measures, groups = planted
    same = regress(features, measures, groups, shuffles=0)
    assert r2_difference(same, same, groups, ["layer"]) == (0, 0, 0)
    noisy = {"layer": features["layer"] + np.random.default_rng(1).normal(size=(480, 20))}
    worse = regress(noisy, measures, groups, shuffles=0)
    difference, low, high = r2_difference(same, worse, groups, ["layer"])
    assert 0 < low < difference < high
    r2 = [r2_table(found, groups)["r2"].mean() for found in (same, worse)]
    assert difference == pytest.approx(r2[0] - r2[1])


def test_learning_curve(planted):
    table = learning_curve(*planted, shares=(0.25, 1.0)).set_index(["concept", "share"])
    assert table.loc[("planted", 1.0), "r2"] > table.loc[("planted", 0.25), "r2"]
    whole = cross_validated_r2(*planted, shuffles=0).set_index("concept")["r2"]
    assert table.loc[("planted", 1.0), "r2"] == pytest.approx(whole["planted"])
    assert table.loc[("planted", 1.0), "patches"] == 480 * 4 / 5


def test_draws_of_groups_that_are_all_alike_have_no_r2():
    truth = np.repeat([[0.0], [0.0], [5.0]], 4, axis=0)
    codes = np.repeat([0, 1, 2], 4)
    draws = np.array([[1, 1, 1], [2, 1, 0]])
    found = grouped_r2(truth, truth + 1, codes, draws)[:, 0]
    assert np.isfinite(found[0]) and np.isnan(found[1])


def test_constant_channels_are_counted(planted):
    features = {"layer": np.hstack([planted[0]["layer"], np.ones((480, 5))])}
    assert constant_share(features)["layer"] == 5 / 25


def test_judgement_of_c3(planted):
    """Early layers that hold the concepts and deep ones that finetuning has made to."""
    features, measures, groups = planted
    measures = measures[["planted"]]
    generator = np.random.default_rng(2)
    signal = features["layer"]
    noise = {level: signal + level * generator.normal(size=signal.shape) for level in (1, 2, 9)}

    def network(early, deep):
        return regress({"a": early, "b": deep}, measures, groups, shuffles=0)

    networks = {
        "random": network(noise[2], noise[9]),
        "pretrained": network(signal, noise[9]),
        "finetuned": network(signal, noise[1]),
    }
    assert judge_c3(networks, groups).endswith("C3 is supported.")
    alike = {**networks, "random": networks["pretrained"]}
    assert judge_c3(alike, groups).endswith("C3 is not supported, or only in part.")
    networks["finetuned"] = networks["pretrained"]
    assert judge_c3(networks, groups).endswith("C3 is not supported, or only in part.")


def test_features_are_cached_by_network_weights_and_images(
    tiny_model, images, tmp_path, monkeypatch
):
    hashed = Model(tiny_model.network, tiny_model.backbone, "pretrained", "", "0123")
    first = layer_features(hashed, images, cache=tmp_path, batch_size=2)
    assert len(list(tmp_path.iterdir())) == 1
    for layer, pooled in layer_features(tiny_model, images).items():
        np.testing.assert_allclose(first[layer], pooled, atol=1e-6)
    other = Model(tiny_model.network, tiny_model.backbone, "pretrained", "", "4567")
    layer_features(other, images, cache=tmp_path)
    layer_features(hashed, images[::-1], cache=tmp_path)
    layer_features(hashed, images, layers=["late"], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    monkeypatch.setattr(Model, "batches", None)  # no pass from here on
    again = layer_features(hashed, images, cache=tmp_path)
    np.testing.assert_array_equal(again["late"], first["late"])
    with pytest.raises(ValueError, match="no hash"):
        layer_features(tiny_model, images, cache=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged.*remove it"):
        layer_features(hashed, images, cache=tmp_path)


def test_one_pass_a_patch(tiny_classifier, images, monkeypatch):
    seen = []
    preprocess = Model.preprocess
    monkeypatch.setattr(
        Model, "preprocess", lambda self, batch: seen.append(len(batch)) or preprocess(self, batch)
    )
    layer_features_and_gradients(tiny_classifier, images, batch_size=2)
    assert seen == [2, 2, 1]


def testgrouped_r2_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    truth = generator.normal(5, 1, (30, 2))
    predicted = truth + generator.normal(size=(30, 2))
    codes = np.repeat(np.arange(5), 6)
    draws = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 0, 2]])
    found = grouped_r2(truth, predicted, codes, draws)
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
    for count, folds in ((2, 5), (3, 2), (12, 1)):
        with pytest.raises(ValueError, match=f"{count} groups for {folds} folds"):
            cross_validated_r2(features, measures, groups % count, folds=folds)
    with pytest.raises(ValueError, match="479 groups of 480 patches"):
        cross_validated_r2(features, measures, groups[1:])
    with pytest.raises(ValueError, match="same PatchSet"):
        in_sample_r2({"layer": features["layer"][:9]}, measures)
