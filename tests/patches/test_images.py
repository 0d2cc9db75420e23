from dataclasses import replace

import numpy as np
import pytest
from skimage.color import hed2rgb, rgb2hed

from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet, to_uint8
from utils.patches.images import change_stains, check_rgb, haematoxylin, nuclei_table


def test_conversion_rounds_and_cuts_off():
    values = np.array([-0.5, 0, 0.5 / 255, 1.5 / 255, 0.999, 1, 2])
    assert to_uint8(values).tolist() == [0, 0, 0, 2, 255, 255, 255]
    same = np.uint8([3, 4])
    assert to_uint8(same) is same


def test_what_is_no_image_is_named():
    check_rgb(np.zeros((1, 9, 9, 3), np.uint8))
    for images, words in (
        (np.zeros((1, 9, 9, 3)), "patches are float64"),
        (np.zeros((9, 9, 3), np.uint8), r"shape \(9, 9, 3\); expected"),
        (np.zeros((0, 9, 9, 3), np.uint8), r"shape \(0, 9, 9, 3\); .*at least one"),
        ([1], "patches are list"),
    ):
        with pytest.raises(ValueError, match=words):
            check_rgb(images, "patches")


def test_changes_of_the_densities_are_those_asked_for():
    """On colours that stay within the range, one stain is scaled and the others stay."""
    density = np.random.default_rng(0).uniform(0.01, 0.06, (2, 8, 8, 3))
    images = np.uint8(np.round(255 * hed2rgb(density)))
    changed = change_stains(images, np.float64([1.5, 1, 1]))
    before, after = rgb2hed(images), rgb2hed(changed)
    np.testing.assert_allclose(after[..., 0], 1.5 * before[..., 0], atol=0.01)
    np.testing.assert_allclose(after[..., 1:], before[..., 1:], atol=0.01)
    np.testing.assert_array_equal(change_stains(images, np.ones(3)), images)
    np.testing.assert_allclose(haematoxylin(images), before[..., 0])


@pytest.fixture
def two_patches():
    """A whole neoplastic square and a cut, half neoplastic one; and a patch without masks."""
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    nuclei, masks = np.zeros((2, 20, 20), np.int32), np.zeros((2, 20, 20), np.uint8)
    nuclei[0, 5:9, 5:9], nuclei[0, 12:16, 18:] = 7, 300
    masks[0, 5:9, 5:9], masks[0, 12:16, 18], masks[0, 12:16, 19] = NEOPLASTIC, NEOPLASTIC, 1
    masks[1] = UNANNOTATED
    groups = np.array(["a", "b"])
    return PatchSet(images, np.ones(2), groups, groups, np.zeros((2, 2)), masks, nuclei)


def test_table_has_one_row_per_nucleus(two_patches):
    table = nuclei_table(two_patches).set_index("nucleus")
    assert list(table.index) == [7, 300] and (table["patch"] == 0).all()
    assert table["area"].tolist() == [16, 8] and table["whole"].tolist() == [True, False]
    assert table["neoplastic"].tolist() == [1, 0.5]
    assert table["type"].tolist() == ["neoplastic", "connective"]  # the first of as many pixels
    assert table.loc[7, "eccentricity"] == 0 < table.loc[300, "eccentricity"]
    density = haematoxylin(two_patches.images[0])
    expected = [density[5:9, 5:9].mean(), density[12:16, 18:].mean()]
    np.testing.assert_allclose(table["haematoxylin"], expected)


def test_table_without_nuclei_is_empty_and_without_masks_an_error(two_patches):
    table = nuclei_table(two_patches.select([1]))
    assert len(table) == 0 and list(table) == list(nuclei_table(two_patches))
    with pytest.raises(ValueError, match="no masks of nuclei"):
        nuclei_table(replace(two_patches, nuclei=None))
