from dataclasses import replace

import numpy as np
import pytest

from utils.patches import (
    NEOPLASTIC,
    UNANNOTATED,
    PatchSet,
    haematoxylin,
    nuclei_table,
    outline_neoplastic,
)


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


def test_outlines_follow_the_neoplastic_nuclei():
    image = np.zeros((1, 20, 20, 3), np.uint8)
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 5:10, 5:10], mask[0, 15:18, 15:18] = 3, 2
    patches = PatchSet(image, np.ones(1), *(np.array(["a"]),) * 2, np.zeros((1, 2)), mask)
    drawn = outline_neoplastic(patches)[0].any(axis=-1)
    assert drawn[5, 5:10].all() and not drawn[7, 7] and not drawn[13:].any()
    assert not image.any()
    assert outline_neoplastic(replace(patches, masks=None)) is None
