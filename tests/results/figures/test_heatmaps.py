from dataclasses import replace

import numpy as np
import pytest

from utils.patches import PatchSet
from utils.results import figures
from utils.results.figures import overlay


def test_overlay(images):
    maps = np.zeros(images.shape[:3], np.float32)
    maps[:, :8] = 1
    laid = overlay(images, maps, opacity=1.0)
    assert laid[0, 0, 0, 0] > 100 > laid[0, 0, 0, 2]  # jet: red at the top, blue at the bottom
    assert laid[0, 15, 0, 2] > 100 > laid[0, 15, 0, 0]
    np.testing.assert_array_equal(overlay(images, maps, opacity=0.0), images)
    with pytest.raises(ValueError, match="jet, cividis"):
        overlay(images, maps, colormap="rainbow")
    with pytest.raises(ValueError, match="differ"):
        overlay(images, maps[:2])


def test_outlines_follow_the_neoplastic_nuclei():
    image = np.zeros((1, 20, 20, 3), np.uint8)
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 5:10, 5:10], mask[0, 15:18, 15:18] = 3, 2
    patches = PatchSet(image, np.ones(1), *(np.array(["a"]),) * 2, np.zeros((1, 2)), mask)
    drawn = figures.outlined(patches)["neoplastic nuclei"][0].any(axis=-1)
    assert drawn[5, 5:10].all() and not drawn[7, 7] and not drawn[13:].any()
    assert not image.any()
    assert figures.outlined(replace(patches, masks=None)) == {}
