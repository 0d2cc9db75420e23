from dataclasses import replace

import numpy as np
import pytest
from skimage.draw import disk

from utils.patches import PatchSet, compare_nuclei, find_nuclei, load_sample
from utils.patches.patchset import UNTYPED

GLASS, TISSUE, NUCLEUS = (240, 238, 240), (215, 150, 195), (80, 60, 140)


@pytest.fixture
def drawn():
    """Dark discs of 20 pixels on pink tissue, two of which touch, and a speck; and glass."""
    image = np.full((100, 100, 3), TISSUE, np.uint8)
    image[:, 95:] = GLASS
    numbers = np.zeros((100, 100), np.int32)
    for number, centre in enumerate([(20, 20), (60, 30), (60, 48), (30, 80)], 1):
        rows, columns = disk(centre, 10)
        image[rows, columns], numbers[rows, columns] = NUCLEUS, number
    image[90:92, 90:92] = NUCLEUS
    name = np.array(["a"])
    arrays = image[None], np.ones(1, int), name, name, np.zeros((1, 2), int)
    return PatchSet(*arrays, masks=np.uint8(numbers > 0)[None], nuclei=numbers[None])


def test_discs_are_found_and_parted(drawn):
    detected = find_nuclei(replace(drawn, masks=None, nuclei=None))
    assert detected.nuclei.max() == 4 and set(np.unique(detected.masks)) == {0, UNTYPED}
    assert detected.nuclei[0, 91, 91] == 0
    row = compare_nuclei(detected, drawn).iloc[-1]
    assert row["f1"] == 1 and row["dice"] > 0.85
    np.testing.assert_array_equal(detected.images, drawn.images)


def test_comparison_of_nuclei(drawn):
    none = replace(drawn, nuclei=np.zeros_like(drawn.nuclei))
    missed = np.where(drawn.nuclei == 4, 0, drawn.nuclei)
    table = compare_nuclei(replace(drawn, nuclei=missed), drawn)
    assert table.columns.tolist() == ["source", "patches", "detected", "annotated", "f1", "dice"]
    assert table["source"].tolist() == ["a", "all"]
    assert table.loc[0, ["detected", "annotated"]].tolist() == [3, 4]
    assert table.loc[0, "f1"] == pytest.approx(6 / 7)
    assert table.loc[0, "dice"] == pytest.approx(6 / 7, abs=0.01)
    assert compare_nuclei(none, drawn)["f1"].tolist() == [0, 0]


def test_nuclei_of_the_sample_are_found():
    patches = load_sample(patch_size=375, stride=375)
    table = compare_nuclei(find_nuclei(patches), patches).set_index("source")
    assert list(table.index) == ["hgsc_nest", "hgsc_stromal_he", "all"]
    assert (table["dice"] > 0.5).all() and (table["f1"] > 0.4).all()


def test_too_small_a_diameter(drawn):
    with pytest.raises(ValueError, match="at least 4 pixels"):
        find_nuclei(drawn, diameter=2)
