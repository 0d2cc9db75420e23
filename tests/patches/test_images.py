import numpy as np
import pytest

from utils.patches import check_rgb, to_uint8


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
