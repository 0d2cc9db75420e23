import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from utils.concepts import cross_validated_r2, in_sample_r2, learning_curve, r2_table, regress
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


def test_learning_curve(planted):
    table = learning_curve(*planted, shares=(0.25, 1.0)).set_index(["concept", "share"])
    assert table.loc[("planted", 1.0), "r2"] > table.loc[("planted", 0.25), "r2"]
    whole = cross_validated_r2(*planted, permutations=0).set_index("concept")["r2"]
    assert table.loc[("planted", 1.0), "r2"] == pytest.approx(whole["planted"])
    assert table.loc[("planted", 1.0), "patches"] == 480 * 4 / 5
