import numpy as np
from skimage.color import hed2rgb, rgb2hed

from utils.patches import change_stains, haematoxylin


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
