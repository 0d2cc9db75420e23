import numpy as np
import pytest

from utils.patches import PatchSet
from utils.patches.patchset import check_apart


def test_folds_hold_out_each_group_once_and_share_no_pixels(sample):
    sides = sample.folds(3)
    held_out = [group for _, test in sides for group in np.unique(test.groups)]
    assert sorted(held_out) == np.unique(sample.groups).tolist()
    for train, test in sides:
        assert len(train) + len(test) == len(sample)
        assert not set(train.groups) & set(test.groups)
        for source in set(train.sources) & set(test.sources):
            used = np.zeros((1500, 1500), bool)
            for x, y in train.positions[train.sources == source]:
                used[y : y + 150, x : x + 150] = True
            for x, y in test.positions[test.sources == source]:
                assert not used[y : y + 150, x : x + 150].any()
        assert set(np.unique(test.labels)) == {0, 1}
        # Both classes within the tumour image, too, or the gate could not be asked.
        assert set(np.unique(test.labels[test.in_tumor_images])) == {0, 1}


def test_overlaps_and_too_few_groups_are_refused(sample):
    one = sample.select(np.arange(4))
    other = PatchSet(
        one.images, one.labels, np.array(["b"] * 4), one.sources, one.positions + [149, 0]
    )
    with pytest.raises(ValueError, match="overlap"):
        check_apart(one, other)
    with pytest.raises(ValueError, match="number of groups: 1"):
        sample.select(sample.groups == sample.groups[0]).folds(2)


def test_tumor_images(sample):
    assert set(sample.sources[sample.in_tumor_images]) == {"hgsc_nest"}
    apart = sample.select((sample.sources == "hgsc_nest") == (sample.labels == 1))
    assert apart.in_tumor_images.all()  # no image has both classes
