import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from utils.claims import judge_relevance
from utils.concepts import cross_validated_r2, in_sample_r2, r2_table, regress, relevance
from utils.concepts.regression import concept_vectors
from utils.concepts.scoring import r2_difference


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


def test_differences_are_paired(planted):
    features, measures, groups = planted
    same = regress(features, measures, groups, permutations=0)
    assert r2_difference(same, same, groups, ["layer"]) == (0, 0, 0)
    noisy = {"layer": features["layer"] + np.random.default_rng(1).normal(size=(480, 20))}
    worse = regress(noisy, measures, groups, permutations=0)
    difference, low, high = r2_difference(same, worse, groups, ["layer"])
    assert 0 < low < difference < high
    r2 = [r2_table(found, groups)["r2"].mean() for found in (same, worse)]
    assert difference == pytest.approx(r2[0] - r2[1])


def test_relevance_finds_the_concept_that_the_output_follows(planted):
    features, measures, groups = planted
    generator = np.random.default_rng(5)
    vector = concept_vectors(features, measures, groups)["layer"]["planted"].to_numpy()
    slopes = vector + 0.05 * generator.normal(size=(480, 20))
    gradients = {"layer": slopes.astype(np.float32)}
    found = regress(features, measures, groups, gradients=gradients, permutations=60)
    table = relevance(found, gradients, groups).set_index("concept")
    planted = table.loc["planted"]
    assert planted["positive"] == 1 and planted["br"] > 5
    np.testing.assert_allclose(planted["br"], planted["r2"] * planted["ratio"])
    assert planted["low"] < planted["ratio"] < planted["high"]
    assert planted["q_random"] < 0.05 and planted["q_permuted"] < 0.05
    assert abs(table.loc["null", "br"]) < 0.5 and table.loc["null", "q_random"] > 0.05
    own = slopes @ vector  # the same from the definition
    assert planted["ratio"] == pytest.approx(own.mean() / own.std(), rel=0.1)
    constant = {"layer": np.tile(np.float32(vector), (480, 1))}
    linear = regress(features, measures, groups, gradients=constant, permutations=10)
    linear = relevance(linear, constant, groups).set_index("concept")
    assert linear[["ratio", "br", "p_random", "q_permuted"]].isna().all(axis=None)
    assert linear.loc["planted", "positive"] == 1
    judged = judge_relevance(table.reset_index().assign(network="finetuned"))
    assert "1 of 2 concepts and layers" in judged and "planted at layer, Br +" in judged
    with pytest.raises(ValueError, match="without gradients"):
        relevance(regress(features, measures, groups, permutations=2), gradients, groups)
