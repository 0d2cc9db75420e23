import numpy as np
import pandas as pd
from sklearn.metrics import r2_score

from utils.statistics import grouped_r2, intervals


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


def test_draws_of_groups_that_are_all_alike_have_no_r2():
    truth = np.repeat([[0.0], [0.0], [5.0]], 4, axis=0)
    codes = np.repeat([0, 1, 2], 4)
    draws = np.array([[1, 1, 1], [2, 1, 0]])
    found = grouped_r2(truth, truth + 1, codes, draws)[:, 0]
    assert np.isfinite(found[0]) and np.isnan(found[1])


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
