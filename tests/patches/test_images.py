import numpy as np
import pytest
from skimage.color import hed2rgb, rgb2hed

from utils.patches import to_uint8
from utils.patches.images import change_stains, check_rgb, haematoxylin


def test_conversion_rounds_and_cuts_off():
    values = np.array([-0.5, 0, 0.5 / 255, 1.5 / 255, 0.999, 1, 2])
    assert to_uint8(values).tolist() == [0, 0, 0, 2, 255, 255, 255]
    same = np.uint8([3, 4])
    assert to_uint8(same) is same


def test_what_is_no_image_is_named():
    check_rgb(np.zeros((1, 9, 9, 3), np.uint8))
    for images, words in (
        (np.zeros((1, 9, 9, 3)), "patches are float64"),
        (np.zeros((9, 9, 3), np.uint8), r"shape \(9, 9, 3\)"),
        (np.zeros((0, 9, 9, 3), np.uint8), "set of patches is empty"),
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
