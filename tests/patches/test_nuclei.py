from dataclasses import replace

import numpy as np
import pytest

from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.patches.images import haematoxylin
from utils.patches.nuclei import nuclei_table


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
    assert table.loc[7, "eccentricity"] == 0 < table.loc[300, "eccentricity"]
    density = haematoxylin(two_patches.images[0])
    expected = [density[5:9, 5:9].mean(), density[12:16, 18:].mean()]
    np.testing.assert_allclose(table["haematoxylin"], expected)


def test_table_without_nuclei_is_empty_and_without_masks_an_error(two_patches):
    table = nuclei_table(two_patches.select([1]))
    assert len(table) == 0 and list(table) == list(nuclei_table(two_patches))
    with pytest.raises(ValueError, match="no masks of nuclei"):
        nuclei_table(replace(two_patches, nuclei=None))
