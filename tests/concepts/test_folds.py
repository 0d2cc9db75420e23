import numpy as np
import pandas as pd

from utils.concepts.folds import permute_groups


def test_null_permutes_whole_groups():
    codes = np.repeat([0, 1, 2, 3], [5, 3, 4, 5])
    generator = np.random.default_rng(0)
    one = np.full(17, "")
    orders = [permute_groups(codes, generator, one) for _ in range(20)]
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

    exchanged = [
        within(permute_groups(codes, generator, np.full(len(codes), ""))) for _ in range(20)
    ]
    shuffled = [within(generator.permutation(len(codes))) for _ in range(20)]
    assert np.mean(exchanged) < 0.4 < 0.8 < np.mean(shuffled)


def test_groups_are_permuted_within_images():
    codes = np.repeat(np.arange(6), 4)
    images = np.where(codes < 3, "one", "other")
    generator = np.random.default_rng(0)
    orders = [permute_groups(codes, generator, images) for _ in range(10)]
    for order in orders:
        np.testing.assert_array_equal(images[order], images)
        assert sorted(order) == list(range(24))
    assert len({tuple(order) for order in orders}) > 5
