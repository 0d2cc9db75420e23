from dataclasses import replace

import cv2
import numpy as np
import pytest

from utils.concepts import MEASURES, texture_measures
from utils.concepts.measures import TEXTURE, nuisance_measures, pattern_measures, stain_measures
from utils.concepts.nuclei import nuclei_measures
from utils.patches import PatchSet


def test_texture_by_hand():
    stripes = np.zeros((1, 6, 6, 3), np.uint8)
    stripes[:, :, 1::2] = 10  # grey levels 0 and 10 in turn
    near = texture_measures(stripes, distances=[1]).iloc[0]
    far = texture_measures(stripes, distances=[2]).iloc[0]
    # One pixel apart: (0, 10) and (10, 0), half each. Two apart: (0, 0) and (10, 10), half each.
    expected = {"contrast": 100, "homogeneity": 1 / 101, "correlation": -1}
    expected |= {"log energy": np.log(0.5) / 2}  # energy is the root of the sum of squares
    np.testing.assert_allclose(near[list(expected)], list(expected.values()), atol=1e-9)
    np.testing.assert_allclose(far[list(TEXTURE)], [0, 1, np.log(0.5) / 2, 1], atol=1e-9)
    with pytest.raises(ValueError, match="float64"):
        texture_measures(stripes / 255)


def test_texture_is_the_mean_over_distances_and_angles():
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    angles = (0.0, np.pi / 2)
    both = texture_measures(images, distances=[1, 3], angles=angles)
    single = [
        texture_measures(images, distances=[d], angles=[angle]) for d in (1, 3) for angle in angles
    ]
    for table in (both, *single):  # the mean is taken before the logarithm
        table["log energy"] = np.exp(table["log energy"])
    np.testing.assert_allclose(both, np.mean(single, axis=0))
    with pytest.raises(ValueError, match=r"distances are \[20\]; expected 1 to 19"):
        texture_measures(images, distances=[20])


def test_registered_measures_take_patches(colored_patches):
    found = MEASURES["texture"].measure(colored_patches, distances=[2])
    expected = texture_measures(colored_patches.images, distances=[2])
    assert found.equals(expected) and MEASURES["nuclei"].measure is nuclei_measures


def _patch(pixels, position=(3, 5)):
    images, name = np.asarray(pixels, np.uint8)[None], np.array(["a"])
    return PatchSet(images, np.zeros(1, int), name, name, np.array([position]))


def test_stains_by_hand():
    grey = _patch(np.full((8, 8, 3), 200))
    assert stain_measures(grey)["colourfulness"][0] == 0
    nucleus, stroma = (np.full((8, 8, 3), rgb) for rgb in ((80, 60, 150), (230, 150, 190)))
    dark, pink = (stain_measures(_patch(pixels)).iloc[0] for pixels in (nucleus, stroma))
    assert dark["haematoxylin"] > pink["haematoxylin"] and dark["log ratio"] > pink["log ratio"]
    pixels = np.zeros((2, 2, 3))
    pixels[0] = (90, 0, 0)  # half red, half black: opponents (90, 45) and (0, 0)
    spread, mean = np.hypot(45, 22.5), np.hypot(45, 22.5)
    assert stain_measures(_patch(pixels))["colourfulness"][0] == pytest.approx(spread + 0.3 * mean)


def test_patterns_by_hand():
    flat = pattern_measures(_patch(np.full((20, 20, 3), 90))).iloc[0]
    assert flat["flat"] > 0.8 and flat["uniform share"] == 1  # beyond the border is darker
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 1)).repeat(3, axis=-1)
    rough = pattern_measures(_patch(noise)).iloc[0]
    assert rough["flat"] < 0.2 and rough["uniform share"] < 0.9
    stripes = np.repeat(np.arange(60) // 5 % 2 * 200, 60).reshape(60, 60, 1).repeat(3, axis=-1)
    assert pattern_measures(_patch(stripes))["uniform share"][0] == 1


def test_nuisances_by_hand():
    pixels = np.full((10, 10, 3), 255)
    pixels[:, 5:] = 10
    sharp = nuisance_measures(_patch(pixels)).iloc[0]
    blurred = nuisance_measures(_patch(cv2.GaussianBlur(np.uint8(pixels), (0, 0), 2))).iloc[0]
    assert sharp["sharpness"] > blurred["sharpness"] and sharp["white share"] == 0.5
    assert sharp[["x", "y"]].tolist() == [3, 5]
    assert nuisance_measures(_patch(pixels, (-1, -1)))[["x", "y"]].isna().all(axis=None)


@pytest.mark.parametrize("name", MEASURES)
def test_every_set_has_one_row_per_patch(name, sample):
    few = sample.select(np.arange(0, len(sample), 60))
    table = MEASURES[name].measure(few)
    assert len(table) == len(few) and table.notna().any().all()
    bare = MEASURES[name].measure(replace(few, masks=None, nuclei=None))
    assert list(bare) == list(table) and len(bare) == len(few)
