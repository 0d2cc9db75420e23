import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from utils.claims import judge_c3, judge_relevance
from utils.concepts import analyse, cross_validated_r2, regress
from utils.concepts.analysis import in_sample_r2, r2_interaction, r2_table, relevance


def test_planted_concept_is_recovered_and_a_null_is_not(planted):
    table = cross_validated_r2(*planted, permutations=10).set_index("concept")
    assert abs(table.loc["planted", "r2"] - 0.8) < 0.05
    assert table.loc["planted", "low"] < table.loc["planted", "r2"] < table.loc["planted", "high"]
    assert table.loc["null", "r2"] <= 0.02
    assert table["null_high"].max() <= 0.05


def test_in_sample_fit_flatters(planted):
    features, measures, groups = planted
    wide = {"wide": np.random.default_rng(1).normal(size=(480, 600)).astype(np.float32)}
    assert in_sample_r2(wide, measures)["r2"].min() > 0.999
    assert cross_validated_r2(wide, measures, groups, permutations=2)["r2"].max() < 0.1
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
    assert cross_validated_r2(features, measures, groups, permutations=2)["r2"][0] < 0.1


def test_repeats_and_significance(planted):
    table = cross_validated_r2(*planted, permutations=39, repeats=3).set_index("concept")
    assert table["sd_over_repeats"].between(1e-6, 0.05).all()
    assert table.loc["planted", "p"] == 1 / 40 and table.loc["planted", "q"] == 2 / 40
    assert table.loc["null", "p"] > 0.05
    once = cross_validated_r2(*planted, permutations=0)
    assert once[["sd_over_repeats", "null_high", "p", "q"]].isna().all(axis=None)


def test_interaction_is_the_difference_of_differences(planted):
    features, measures, groups = planted
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(480, 20))

    def network(deep):
        layers = {"early": features["layer"], "deep": features["layer"] + deep * noise}
        return regress(layers, measures, groups, permutations=0)

    one, other = network(1), network(0.3)
    same = r2_interaction({"pretrained": one, "finetuned": one}, ["early"], ["deep"])
    assert (same["difference"] == 0).all() and len(same) == 13
    table = r2_interaction({"pretrained": one, "finetuned": other}, ["early"], ["deep"])
    mean = {
        name: r2_table(network).groupby("layer")["r2"].mean()
        for name, network in (("pretrained", one), ("finetuned", other))
    }
    change = mean["finetuned"] - mean["pretrained"]
    assert table["difference"][0] == pytest.approx(change["deep"] - change["early"])
    verdict = judge_c3(table)
    assert 0 < verdict.low < verdict.value < verdict.high and verdict.outcome == "supported"
    assert table["left_out"].tolist() == ["none", *range(12)]
    # Seeds are averaged.
    seeds = {"pretrained": one, "finetuned": one, "finetuned 2": other}
    both = r2_interaction(seeds, ["early"], ["deep"])
    np.testing.assert_allclose(both["difference"], table["difference"] / 2)
    with pytest.raises(ValueError, match=r"layers \['other'\] were not regressed"):
        r2_interaction(seeds, ["early"], ["other"])


def test_effects_are_told_by_class(planted):
    features, measures, groups = planted
    slope = np.where(np.arange(480) % 2, 1.0, 3.0)[:, None] * np.ones((1, 20))
    classes = np.arange(480) % 2
    options = {"gradients": {"layer": slope}, "classes": classes, "permutations": 0}
    row = relevance(regress(features, measures, groups, **options)).iloc[0]
    assert row["size_class_0"] == pytest.approx(3 * row["size_class_1"])
    assert row["size"] == pytest.approx((row["size_class_0"] + row["size_class_1"]) / 2)


def test_concepts_are_regressed_on_other_features_too(planted):
    features, measures, groups = planted
    colours = measures[["planted"]].to_numpy() + np.zeros((480, 2))
    slopes = {"layer": np.ones((480, 20))}
    options = {"gradients": {"finetuned": slopes}, "permutations": 0}
    networks = {"finetuned": features}
    none = analyse(networks, measures, groups, **options)
    assert none.baselines.empty
    some = analyse(networks, measures, groups, baselines={"mean colours": colours}, **options)
    r2 = some.baselines.set_index(["layer", "concept"])["r2"]
    assert r2["mean colours", "planted"] > 0.99 and r2["mean colours", "null"] < 0.1


def test_relevance_finds_the_concept_that_the_output_follows(planted):
    features, measures, groups = planted
    generator = np.random.default_rng(5)
    vector = LinearRegression().fit(features["layer"], measures["planted"]).coef_
    vector = vector / np.linalg.norm(vector)
    slopes = vector + 0.05 * generator.normal(size=(480, 20))
    gradients = {"layer": slopes.astype(np.float32)}
    found = regress(features, measures, groups, gradients=gradients, permutations=60)
    table = relevance(found).set_index("concept")
    planted = table.loc["planted"]
    assert planted["positive"] == 1 and planted["br"] > 5
    np.testing.assert_allclose(planted["br"], planted["r2"] * planted["ratio"])
    assert planted["low"] < planted["ratio"] < planted["high"]
    assert planted["q_random"] < 0.05 and planted["q_permuted"] < 0.05
    assert abs(table.loc["null", "br"]) < 0.5 and table.loc["null", "q_random"] > 0.05
    own = slopes @ vector  # the same from the definition
    assert planted["ratio"] == pytest.approx(own.mean() / own.std(), rel=0.1)
    x, y = features["layer"], measures["planted"]
    pattern = [np.cov(channel, y)[0, 1] / y.std() for channel in x.T]  # of all patches
    assert planted["size"] == pytest.approx((slopes @ pattern).mean(), rel=0.1)
    assert planted["size_low"] < planted["size"] < planted["size_high"]
    assert abs(table.loc["null", "size"]) < planted["size"] / 5
    constant = {"layer": np.tile(np.float32(vector), (480, 1))}
    linear = regress(features, measures, groups, gradients=constant, permutations=10)
    linear = relevance(linear).set_index("concept")
    assert linear[["ratio", "br", "p_random", "q_permuted"]].isna().all(axis=None)
    assert linear.loc["planted", "positive"] == 1
    judged = judge_relevance(table.reset_index().assign(network="finetuned"))
    assert "1 of 2 concepts and layers" in judged and "planted at layer, Br +" in judged
    many = [table.reset_index().assign(network="n", layer=f"{i}", q_random=1.0) for i in range(18)]
    judged = judge_relevance(pd.concat(many).assign(least_p=1 / 201))
    assert "0 of 36" in judged and "fewer than 4 cannot be" in judged  # 36 / 201 / 0.05 = 3.6
    judged = judge_relevance(pd.concat(many).assign(least_p=1 / 2))
    assert "none can be" in judged
    with pytest.raises(ValueError, match="without gradients"):
        relevance(regress(features, measures, groups, permutations=2))


def test_analysis_is_that_of_its_parts_without_patches_that_lack_a_measure(planted):
    features, measures, groups = planted
    measures = measures.copy()
    measures.loc[[3, 77], "null"] = np.nan
    generator = np.random.default_rng(0)
    noisy = {"layer": features["layer"] + generator.normal(size=(480, 20)).astype(np.float32)}
    slopes = {"layer": generator.normal(size=(480, 20)).astype(np.float32)}
    kept = []

    def once(function, *arguments, **options):
        kept.append(function.__name__)
        return function(*arguments, **options)

    options = {"folds": 4, "repeats": 2, "permutations": 9, "seed": 1}
    networks = {"random": noisy, "random 2": noisy, "finetuned": features}
    analysis = analyse(
        networks, measures, groups, gradients={"finetuned": slopes}, once=once, **options
    )
    assert np.flatnonzero(~analysis.known).tolist() == [3, 77]
    assert kept == ["regress", "in_sample_r2", "r2_table"] * 3 + ["relevance"]
    rows = analysis.held_out.groupby(["network", "seed"], sort=False).size()
    assert rows.to_dict() == {("random", 0): 2, ("random", 1): 2, ("finetuned", 0): 2}

    x, slopes = {"layer": features["layer"][analysis.known]}, slopes["layer"][analysis.known]
    measures, groups = measures[analysis.known], groups[analysis.known]
    expected = regress(x, measures, groups, gradients={"layer": slopes}, **options)
    for table, parts in (
        (analysis.in_sample, in_sample_r2(x, measures)),
        (analysis.held_out, r2_table(expected)),
        (analysis.relevance, relevance(expected)),
    ):
        table = table[table["network"] == "finetuned"].drop(columns=["network", "seed"])
        pd.testing.assert_frame_equal(table, parts)
    predicted = analysis.regressions["finetuned"]["layer"].predicted
    np.testing.assert_array_equal(predicted, expected["layer"].predicted)


def test_splits_score_held_out_patches_with_the_features_of_their_network(planted):
    """Networks of two folds, of which the other's features are noise, predict as one network."""
    features, measures, groups = planted
    x, noise = features["layer"], np.random.default_rng(1).normal(size=(480, 20))
    slopes = np.random.default_rng(2).normal(size=(480, 20))
    splits = [(np.flatnonzero(groups % 3 != k), np.flatnonzero(groups % 3 == k)) for k in (0, 1)]
    options = {"permutations": 5, "splits": splits}
    one = regress({"layer": x}, measures, groups, gradients={"layer": slopes}, **options)["layer"]
    assert set(one.groups) == {g for g in range(12) if g % 3 != 2}
    assert one.predicted.shape == (1, 320, 2) and one.null_ratio.shape == (5, 2)
    # A network whose features are the same but for their order of channels.
    turned, turned_slopes = x[:, ::-1], slopes[:, ::-1]
    of_folds = {"layer": [x, turned]}
    of_slopes = {"layer": [slopes, turned_slopes]}
    two = regress(of_folds, measures, groups, gradients=of_slopes, **options)["layer"]
    np.testing.assert_allclose(two.predicted, one.predicted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(two.sensitivity, one.sensitivity, rtol=1e-3, atol=1e-5)
    half = regress({"layer": [x, noise]}, measures, groups, **options)["layer"]
    first, second = (np.isin(half.groups % 3, [k]) for k in (0, 1))
    np.testing.assert_allclose(half.predicted[:, first], one.predicted[:, first], rtol=1e-6)
    assert np.corrcoef(half.predicted[0, second, 0], half.truth[second, 0])[0, 1] < 0.5
    measures = measures.copy()
    measures.loc[[3, 77], "null"] = np.nan
    analysis = analyse(
        {"finetuned": of_folds},
        measures,
        groups,
        gradients={"finetuned": of_slopes},
        splits=splits,
        permutations=2,
    )
    scored = analysis.regressions["finetuned"]["layer"]
    assert len(scored.groups) == 320 - np.isin(groups[[3, 77]] % 3, [0, 1]).sum()
