import numpy as np
import pandas as pd
import pytest

from utils.concepts import cross_validated_r2, learning_curve, regression


def test_a_channel_that_hardly_ever_answers_does_not_break_the_fit(planted):
    """One held-out patch has a value that is thousands of training deviations off."""
    features, measures, groups = planted
    rare = np.zeros((480, 1), np.float32)
    rare[100], rare[300] = 1e-4, 1
    with_rare = {"layer": np.hstack([features["layer"], rare])}
    found = cross_validated_r2(with_rare, measures, groups, permutations=0)["r2"]
    expected = cross_validated_r2(features, measures, groups, permutations=0)["r2"]
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_concept_vectors_point_where_the_concept_was_planted():
    generator = np.random.default_rng(0)
    scale = generator.uniform(0.1, 10, 12)
    x = generator.normal(size=(600, 12)) * scale
    weights = generator.normal(size=12)
    signal = x @ weights
    y = pd.DataFrame({"planted": signal + generator.normal(size=600) * signal.std() / 5})
    vectors = regression.concept_vectors({"layer": x}, y, np.repeat(np.arange(12), 50))["layer"]
    assert vectors.shape == (12, 1)
    vector = vectors["planted"].to_numpy()
    np.testing.assert_allclose(np.linalg.norm(vector), 1)
    weighted = (vector * scale) @ (weights * scale)  # channels that hardly vary tell little
    norms = np.linalg.norm(vector * scale) * np.linalg.norm(weights * scale)
    assert weighted / norms > 0.99


def test_null_permutes_whole_groups():
    codes = np.repeat([0, 1, 2, 3], [5, 3, 4, 5])
    generator = np.random.default_rng(0)
    orders = [regression._permute_groups(codes, generator) for _ in range(20)]
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

    exchanged = [within(regression._permute_groups(codes, generator)) for _ in range(20)]
    shuffled = [within(generator.permutation(len(codes))) for _ in range(20)]
    assert np.mean(exchanged) < 0.4 < 0.8 < np.mean(shuffled)


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
    with pytest.raises(ValueError, match="479 group labels for 480 patches"):
        cross_validated_r2(features, measures, groups[1:])
    with pytest.raises(ValueError, match="same PatchSet"):
        cross_validated_r2({"layer": features["layer"][:9]}, measures, groups)


def test_learning_curve(planted):
    table = learning_curve(*planted, shares=(0.25, 1.0)).set_index(["concept", "share"])
    assert table.loc[("planted", 1.0), "r2"] > table.loc[("planted", 0.25), "r2"]
    whole = cross_validated_r2(*planted, permutations=0).set_index("concept")["r2"]
    assert table.loc[("planted", 1.0), "r2"] == pytest.approx(whole["planted"])
    assert table.loc[("planted", 1.0), "patches"] == 480 * 4 / 5
