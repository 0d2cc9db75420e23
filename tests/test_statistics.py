from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test, ttest_1samp
from sklearn.metrics import r2_score

from utils.statistics import (
    grouped_r2,
    intervals,
    jackknife_error,
    jackknife_interval,
    leave_one_out,
    max_t_p,
    mean_interval,
    mean_over_deviation,
    percentile_interval,
    permutation_p_value,
    sign_flip_p,
    with_false_discovery_rate,
)


def _table(generator, groups, effect=0.0):
    """Patches of groups of very unequal size, alike within their group."""
    sizes = np.maximum(1, generator.lognormal(2.3, 0.8, groups)).astype(int)
    codes = np.repeat(np.arange(groups), sizes)
    values = effect + generator.normal(size=groups)[codes] + generator.normal(size=len(codes))
    return pd.DataFrame({"group": codes, "value": values})


def test_intervals_are_students_over_the_means_of_groups():
    table = _table(np.random.default_rng(0), 8)
    table.loc[3, "value"] = np.nan
    row = intervals(table, [], ["value"], level=0.9).iloc[0]
    means = table.groupby("group")["value"].mean()
    expected = ttest_1samp(means, 0).confidence_interval(0.9)
    np.testing.assert_allclose(
        row[["mean", "low", "high"]].astype(float), [means.mean(), *expected]
    )
    assert (row["n"], row["groups"]) == (len(table) - 1, 8)
    single = intervals(table.assign(group=0), [], ["value"]).iloc[0]
    assert np.isnan(single["low"]) and single["groups"] == 1
    assert np.isnan(mean_interval(np.array([]))).all()


@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 3])
@pytest.mark.parametrize("groups", [3, 5, 6, 12, 32])
def test_intervals_hold_their_level(groups, level):
    """Of groups of unequal size with correlated patches, whose mean is 0."""
    generator = np.random.default_rng(groups)
    runs = 400
    missed = 0
    for _ in range(runs):
        row = intervals(_table(generator, groups), [], ["value"], level=level).iloc[0]
        missed += row["low"] > 0 or row["high"] < 0
    nominal = 1 - level
    assert abs(missed / runs - nominal) <= 3 * np.sqrt(nominal * level / runs)


@pytest.mark.parametrize("groups", [5, 6, 12, 32])
def test_jackknife_of_a_difference_of_r2_holds_its_level(groups):
    """Of two predictions that are equally good, for groups of unequal size."""
    generator = np.random.default_rng(groups)
    runs, missed = 400, 0
    for _ in range(runs):
        table = _table(generator, groups)
        truth = table[["value"]].to_numpy()
        codes, weights = leave_one_out(table["group"].to_numpy())
        error = generator.normal(size=(2, groups))[:, codes] + generator.normal(
            size=(2, len(codes))
        )
        one, other = (grouped_r2(truth, truth + e[:, None], codes, weights) for e in error)
        low, high = jackknife_interval(one - other)[:, 0]
        missed += low > 0 or high < 0
    assert abs(missed / runs - 0.05) <= 3 * np.sqrt(0.05 * 0.95 / runs)


def test_each_group_counts_once():
    groups = np.array(list("aaabcc"))
    codes, weights = leave_one_out(groups)
    np.testing.assert_allclose(weights @ np.bincount(codes), [3, 2, 2, 2])
    values = np.array([[0.0], [0], [0], [3], [6], [6]])
    truth = values + np.array([[1.0], [-1], [0], [1], [0], [2]])
    r2 = grouped_r2(truth, values, codes, weights)[:, 0]
    own = 1 / np.array([3, 3, 3, 1, 2, 2])
    for row, left in enumerate([None, "a", "b", "c"]):
        kept = groups != left
        assert r2[row] == pytest.approx(
            r2_score(truth[kept], values[kept], sample_weight=own[kept])
        )
    ratio = mean_over_deviation(values, codes, weights)
    mean = np.average(values[:, 0], weights=own)
    deviation = np.sqrt(np.average((values[:, 0] - mean) ** 2, weights=own))
    assert ratio[0, 0] == pytest.approx(mean / deviation)


def test_groups_that_are_all_alike_have_no_r2():
    truth = np.repeat([[0.0], [0.0], [5.0]], 4, axis=0)
    codes, weights = leave_one_out(np.repeat([0, 1, 2], 4))
    r2 = grouped_r2(truth, truth + 1, codes, weights)[:, 0]
    assert np.isfinite(r2[:3]).all() and np.isnan(r2[3])


def test_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).normal(size=12)
    left_out = np.array([np.delete(values, i).mean() for i in range(12)])
    assert jackknife_error(left_out) == pytest.approx(values.std(ddof=1) / np.sqrt(12))
    interval = jackknife_interval(np.array([values.mean(), *left_out]), 0.9)
    np.testing.assert_allclose(interval, mean_interval(values, 0.9))
    assert np.isnan(jackknife_interval(np.array([1.0, 1.0]))).all()


def test_percentiles_leave_out_missing_values():
    values = np.array([[0.0], [np.nan], [10.0]])
    np.testing.assert_allclose(percentile_interval(values, 0.8)[:, 0], [1, 9])
    assert np.isnan(percentile_interval(np.zeros((0, 3)))).all()


def test_p_value_counts_the_value_itself():
    null = np.array([[0.1, 5.0], [0.3, 5.0], [0.2, 5.0]])
    np.testing.assert_allclose(permutation_p_value(np.array([0.25, 1.0]), null), [2 / 4, 1])


def test_false_discovery_rate_is_that_of_the_definition():
    table = with_false_discovery_rate(pd.DataFrame({"p_x": [0.01, 0.04, np.nan, 0.03]}), "p_x")
    np.testing.assert_allclose(table["q_x"], [0.03, 0.04, np.nan, 0.04])


def test_sign_flips_are_those_of_scipy():
    differences = np.array([0.3, -0.1, 0.4, 0.2, 0.0, 0.5, 0.1])
    options = {"permutation_type": "samples", "alternative": "greater", "n_resamples": np.inf}
    expected = permutation_test((differences,), np.mean, **options).pvalue
    assert sign_flip_p(differences) == pytest.approx(expected)
    assert sign_flip_p(np.ones(6)) == 1 / 64 and sign_flip_p(-np.ones(6)) == 1
    with pytest.raises(ValueError, match="5 groups cannot reject anything"):
        sign_flip_p(np.ones(5))


def test_largest_of_several_tests_by_hand():
    differences = np.random.default_rng(0).normal(0.5, 1, (7, 3))

    def largest(signs):
        flipped = differences * np.array(signs)[:, None]
        return flipped.mean(axis=0) / flipped.std(axis=0)

    observed = largest(np.ones(7))
    null = [largest(signs).max() for signs in product([1, -1], repeat=7)]
    expected = [np.mean(np.array(null) >= t - 1e-9) for t in observed]
    np.testing.assert_allclose(max_t_p(differences), expected)
    assert (max_t_p(differences) >= [sign_flip_p(column) for column in differences.T]).all()


@pytest.mark.parametrize("groups", [6, 12, 32])
def test_sign_flips_hold_their_level(groups):
    """Of groups whose noise is of different strength, for one test and for four that correlate."""
    generator = np.random.default_rng(groups)
    strength = generator.uniform(0.2, 3, groups)
    runs = {6: 400, 12: 200, 32: 40}[groups]
    rejected = np.zeros(2)
    for _ in range(runs):
        shared = generator.normal(size=(groups, 1))
        noise = strength[:, None] * (shared + generator.normal(size=(groups, 4)))
        rejected += sign_flip_p(noise[:, 0]) <= 0.05, max_t_p(noise).min() <= 0.05
    assert (rejected / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)).all()
