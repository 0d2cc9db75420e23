from dataclasses import replace

import numpy as np
import pytest

from utils.heatmaps import rank_agreement, removal_effects, sharp_lime, type_effects
from utils.heatmaps.nuclei import fill, without
from utils.patches import PatchSet

PLAIN = (230, 180, 40)  # tissue without nuclei


@pytest.fixture
def linear_classifier(tiny_classifier):
    """A network whose logit is linear in the blue of the pixels."""
    for name, weights, bias in (("stem", (3, 4), 1.0), ("deep", (4, 6), 0.0)):
        kernel = np.zeros((3, 3, *weights), np.float32)
        kernel[:, :, 2 if name == "stem" else 0, 0] = 1 / 9
        biases = np.zeros(weights[1])
        biases[0] = bias  # keeps ReLU from cutting
        tiny_classifier.network.get_layer(name).set_weights([kernel, biases])
    head = 40 * np.eye(6, 1, dtype=np.float32)
    tiny_classifier.network.get_layer("tumor").set_weights([head, np.zeros(1)])
    return tiny_classifier


@pytest.fixture
def patches():
    """Six squares of different blue on plain tissue, of two types; and a patch without any."""
    images = np.tile(np.uint8(PLAIN), (2, 48, 48, 1))
    nuclei, masks = np.zeros((2, 48, 48), np.int32), np.zeros((2, 48, 48), np.uint8)
    for number in range(6):
        rows, columns = (slice(6 + 14 * side, 13 + 14 * side) for side in divmod(number, 3))
        nuclei[0, rows, columns], masks[0, rows, columns] = number + 4, 3 if number % 2 else 1
        images[0, rows, columns, 2] = 60 + 35 * number
    groups = np.array(["a", "b"])
    return PatchSet(images, np.array([1, 0]), groups, groups, np.zeros((2, 2)), masks, nuclei)


def plain_without(patches, numbers):
    image = patches.images[0].copy()
    image[np.isin(patches.nuclei[0], numbers)] = PLAIN
    return image


def test_a_nucleus_is_filled_by_its_surroundings(patches):
    for numbers in ([4], [5, 9], list(range(4, 10))):
        filled = without(patches.images[0], patches.nuclei[0], numbers)
        np.testing.assert_array_equal(filled, plain_without(patches, numbers))
    np.testing.assert_array_equal(
        without(patches.images[0], patches.nuclei[0], []), patches.images[0]
    )
    with pytest.raises(ValueError, match="cover the whole patch"):
        fill(patches.images[0], np.ones((48, 48), bool))


def test_a_box_is_filled_as_the_whole_patch(images):
    """Inpainting by OpenCV, on images without any regularity."""
    import cv2

    mask = np.zeros((16, 16), bool)
    mask[6:9, 10:14] = True
    expected = cv2.inpaint(images[0], np.uint8(mask), 3, cv2.INPAINT_NS)
    np.testing.assert_array_equal(fill(images[0], mask), expected)


def test_neighbours_stay(patches):
    nuclei = patches.nuclei[0].copy()
    nuclei[6:13, 13:15] = 5  # touches nucleus 4
    image = without(patches.images[0], nuclei, [4])
    np.testing.assert_array_equal(image[nuclei == 5], patches.images[0][nuclei == 5])


def test_each_nucleus_changes_the_logit_by_what_it_adds(linear_classifier, patches):
    table = removal_effects(linear_classifier, patches)
    assert table["nucleus"].tolist() == list(range(4, 10)) and set(table["group"]) == {"a"}
    whole, *rest = linear_classifier.log_odds(
        np.stack([patches.images[0], *(plain_without(patches, [n]) for n in range(4, 10))])
    )
    np.testing.assert_allclose(table["change"], whole - np.array(rest), atol=1e-5)
    assert np.ptp(table["change"]) > 0.1
    np.testing.assert_allclose(table["control"], 0, atol=1e-5)  # plain tissue on plain tissue
    again = removal_effects(linear_classifier, patches.select([0]))
    np.testing.assert_array_equal(again["change"], table["change"])


def test_no_room_for_a_control(linear_classifier, patches):
    nuclei = patches.nuclei.copy()
    nuclei[0, 20:46] = 20  # leaves no room for itself
    crowded = replace(patches, nuclei=nuclei, masks=np.uint8(nuclei > 0))
    table = removal_effects(linear_classifier, crowded).set_index("nucleus")
    assert np.isnan(table.loc[20, "control"]) and table.loc[20, "type"] == "connective"


def test_types_add_up_in_a_linear_network(linear_classifier, patches):
    each = removal_effects(linear_classifier, patches).groupby("type")["change"].sum()
    table = type_effects(linear_classifier, patches).set_index("type")
    assert table["nuclei"].to_dict() == {"connective": 3, "neoplastic": 3}
    for column in ("necessity", "sufficiency"):
        np.testing.assert_allclose(table[column], each[table.index], atol=1e-4)


def test_sharp_lime_finds_what_each_nucleus_adds(linear_classifier, patches):
    effects = removal_effects(linear_classifier, patches)
    weights = sharp_lime(linear_classifier, patches, samples=300)
    assert weights["nucleus"].tolist() == effects["nucleus"].tolist()
    shrunk = np.polyfit(effects["change"], weights["weight"], 1)[0]  # by the ridge
    assert 0.5 < shrunk < 1
    assert np.corrcoef(effects["change"], weights["weight"])[0, 1] > 0.99
    again = sharp_lime(linear_classifier, patches, samples=300)
    np.testing.assert_array_equal(weights["weight"], again["weight"])


def test_maps_rank_nuclei_as_removals_do(linear_classifier, patches):
    effects = removal_effects(linear_classifier, patches)
    maps = np.zeros((2, 48, 48), np.float32)
    for row in effects.itertuples():
        maps[0][patches.nuclei[0] == row.nucleus] = np.exp(row.change)
    maps = {"same": maps, "opposite": -maps, "constant": np.ones_like(maps)}
    table = rank_agreement(maps, patches, effects).set_index("method")
    assert table["spearman"].round(6).to_dict() | {"constant": 0} == {
        "same": 1,
        "opposite": -1,
        "constant": 0,
    }
    assert np.isnan(table.loc["constant", "spearman"]) and (table["nuclei"] == 6).all()
    assert len(rank_agreement(maps, patches, effects.iloc[:4])) == 0


def test_unusable_masks_are_refused(linear_classifier, patches):
    covered = replace(patches, nuclei=np.ones_like(patches.nuclei))
    for effects in (removal_effects, type_effects, sharp_lime):
        with pytest.raises(ValueError, match=r"patches \[0, 1\] are covered by nuclei"):
            effects(linear_classifier, covered)
    with pytest.raises(ValueError, match="nuclei have the shape .*one value per pixel"):
        replace(patches, nuclei=patches.nuclei[:, :40])
    with pytest.raises(ValueError, match="no masks of nuclei"):
        removal_effects(linear_classifier, replace(patches, masks=None, nuclei=None))
