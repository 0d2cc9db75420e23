from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import r2_score

from utils.statistics import (
    grouped_r2,
    intervals,
    jackknife_error,
    mean_interval,
    permutation_p_value,
    sign_flip_p,
    with_false_discovery_rate,
)


def test_intervals_resample_groups():
    """Against a plain bootstrap over groups, and wider than one that ignores them."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 20)
    values = generator.normal(size=8)[groups] + 0.1 * generator.normal(size=160)
    table = pd.DataFrame({"group": groups, "value": values})
    row = intervals(table, [], ["value"], resamples=4000).iloc[0]
    means = values.reshape(8, 20).mean(axis=1)
    draws = means[generator.integers(8, size=(4000, 8))].mean(axis=1)
    np.testing.assert_allclose(
        [row["mean"], row["low"], row["high"]],
        [values.mean(), *np.percentile(draws, [2.5, 97.5])],
        atol=0.05,
    )
    assert (row["n"], row["groups"]) == (160, 8)
    alone = intervals(table.assign(group=np.arange(160)), [], ["value"]).iloc[0]
    assert row["high"] - row["low"] > 2 * (alone["high"] - alone["low"])
    single = intervals(table.assign(group=0), [], ["value"]).iloc[0]
    assert np.isnan(single["low"])


def test_resamples_of_groups_that_are_all_alike_have_no_r2():
    truth = np.repeat([[0.0], [0.0], [5.0]], 4, axis=0)
    codes = np.repeat([0, 1, 2], 4)
    draws = np.array([[1, 1, 1], [2, 1, 0]])
    found = grouped_r2(truth, truth + 1, codes, draws)[:, 0]
    assert np.isfinite(found[0]) and np.isnan(found[1])


def test_grouped_r2_is_that_of_scikit_learn():
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


def test_interval_of_a_mean_is_scipys():
    generator = np.random.default_rng(0)
    values = generator.normal(size=40)
    low, high = mean_interval(values, np.arange(40), resamples=20_000, level=0.9)
    options = {"n_resamples": 20_000, "confidence_level": 0.9, "method": "percentile"}
    expected = bootstrap((values,), np.mean, rng=generator, **options).confidence_interval
    np.testing.assert_allclose((low, high), expected, atol=0.01)
    assert np.isnan(mean_interval(values, np.zeros(40))).all()
    assert np.isnan(mean_interval(values[:0], np.zeros(0))).all()


def test_interval_of_a_mean_weighs_groups_of_unequal_size():
    """Against every possible resample of three groups."""
    values, groups = np.array([0.0, 0, 0, 3, 6, 6]), np.array([0, 0, 0, 1, 2, 2])
    found = mean_interval(values, groups, resamples=50_000, level=0.8)
    every = []
    for draw in product(range(3), repeat=3):
        chosen = np.concatenate([values[groups == g] for g in draw])
        every.append(chosen.mean())
    np.testing.assert_allclose(found, np.percentile(every, [10, 90]), atol=0.05)


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=12)
    left_out = [np.delete(values, i).mean() for i in range(12)]
    assert jackknife_error(left_out) == pytest.approx(values.std(ddof=1) / np.sqrt(12))


def test_p_value_counts_the_value_itself():
    null = np.array([[0.1, 5.0], [0.3, 5.0], [0.2, 5.0]])
    np.testing.assert_allclose(permutation_p_value(np.array([0.25, 1.0]), null), [2 / 4, 1])


def test_false_discovery_rate_is_that_of_the_definition():
    table = with_false_discovery_rate(pd.DataFrame({"p_x": [0.01, 0.04, np.nan, 0.03]}), "p_x")
    np.testing.assert_allclose(table["q_x"], [0.03, 0.04, np.nan, 0.04])


def test_sign_flips_are_counted_exactly():
    differences = np.array([0.3, -0.1, 0.4, 0.2, 0.0, 0.5, 0.1])
    flipped = [np.mean(signs * differences) for signs in product([1, -1], repeat=7)]
    expected = np.mean(np.array(flipped) >= differences.mean() - 1e-12)
    assert sign_flip_p(differences) == pytest.approx(expected)
    assert sign_flip_p(np.ones(6)) == 1 / 64
    with pytest.raises(ValueError, match="5 groups cannot reject anything"):
        sign_flip_p(np.ones(5))


@pytest.mark.parametrize("groups", [6, 9, 32])
def test_sign_flips_hold_their_level(groups):
    """Of skewed sizes, with noise of different strength, symmetric under the null."""
    generator = np.random.default_rng(groups)
    strength = generator.uniform(0.2, 3, groups)
    runs = 400 if groups < 16 else 40  # 65,536 draws each
    p_values = [sign_flip_p(strength * generator.normal(size=groups)) for _ in range(runs)]
    rejected = np.mean(np.array(p_values) < 0.05)
    assert rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
