import numpy as np
import pytest

from utils.patches import PatchSet
from utils.patches.patchset import check_apart


@pytest.mark.parametrize("seed", range(3))
def test_splits_share_neither_groups_nor_pixels(sample, seed):
    train, test = sample.split(seed=seed)
    assert len(train) + len(test) == len(sample)
    assert not set(train.groups) & set(test.groups)
    for source in set(train.sources) & set(test.sources):
        used = np.zeros((1500, 1500), bool)
        for x, y in train.positions[train.sources == source]:
            used[y : y + 150, x : x + 150] = True
        for x, y in test.positions[test.sources == source]:
            assert not used[y : y + 150, x : x + 150].any()
    assert set(np.unique(test.labels)) == {0, 1}


def test_overlaps_and_too_few_groups_are_refused(sample):
    one = sample.select(np.arange(4))
    other = PatchSet(
        one.images, one.labels, np.array(["b"] * 4), one.sources, one.positions + [149, 0]
    )
    with pytest.raises(ValueError, match="overlap"):
        check_apart(one, other)
    with pytest.raises(ValueError, match="number of groups: 1"):
        sample.select(sample.groups == sample.groups[0]).split()
