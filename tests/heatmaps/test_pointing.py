import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from utils.heatmaps import pointing
from utils.patches import NEOPLASTIC


@pytest.fixture
def masks():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :4, :4], masks[1, 2:4, 2:6] = True, True
    return masks


def test_pointing_game(masks):
    maps = np.zeros(masks.shape, np.float32)
    maps[0, 1, 1], maps[1, 7, 7] = 1, 1
    assert pointing.pointing_game(maps, masks).tolist() == [1, 0]
    uniform = pointing.pointing_game(np.ones_like(maps), masks)
    np.testing.assert_allclose(uniform, masks.mean(axis=(1, 2)))


def test_energy_inside(masks):
    maps = np.where(masks, 3.0, 1.0)
    area = masks.mean(axis=(1, 2))
    expected = 3 * area / (3 * area + 1 - area)
    np.testing.assert_allclose(pointing.energy_inside(maps, masks), expected)
    assert np.isnan(pointing.energy_inside(np.zeros_like(maps), masks)).all()


def test_rank_accuracy(masks):
    assert pointing.rank_accuracy(masks.astype(float), masks).tolist() == [1, 1]
    assert pointing.rank_accuracy(1.0 - masks, masks).tolist() == [0, 0]
    constant = pointing.rank_accuracy(np.ones(masks.shape), masks)
    np.testing.assert_allclose(constant, masks.mean(axis=(1, 2)))  # as at random
    heat = np.array([[[4, 3], [2, 1]]])  # the two highest: one inside
    truth = np.array([[[True, False], [True, False]]])
    assert pointing.rank_accuracy(heat, truth).tolist() == [0.5]
    assert np.isnan(pointing.rank_accuracy(heat, np.zeros_like(truth))).all()


def test_binary_iou():
    heat = np.zeros((1, 10, 10))
    heat[0, 0] = 1  # the highest tenth
    mask = np.zeros((1, 10, 10), bool)
    mask[0, :2, :5] = True
    assert pointing.binary_iou(heat, mask).tolist() == [5 / 15]
    assert pointing.binary_iou(np.ones_like(heat), mask).tolist() == [0]  # no pixel is highest
    assert np.isnan(pointing.binary_iou(heat, np.zeros_like(mask))).all()


def test_gini_is_half_the_mean_relative_difference():
    maps = np.random.default_rng(0).random((2, 5, 5))
    flat = maps.reshape(2, -1)
    mean_difference = np.abs(flat[:, :, None] - flat[:, None]).mean(axis=(1, 2))
    np.testing.assert_allclose(pointing.gini(maps), mean_difference / (2 * flat.mean(axis=1)))
    assert pointing.gini(np.zeros((1, 5, 5))).tolist() == [0]
    assert pointing.gini(np.ones((1, 5, 5))) == pytest.approx(0)


def test_a_dead_map_counts_as_a_uniform_one(annotated_patches):
    dead = np.zeros(annotated_patches.masks.shape, np.float32)
    table = pointing.measure_pixels(dead - 1, annotated_patches)  # evidence against only
    assert (table["dead"] == 1).all() and (table["energy_ratio"] == 1).all()
    area = (annotated_patches.masks == NEOPLASTIC).mean(axis=(1, 2))
    np.testing.assert_allclose(table["pointing"], area)
    np.testing.assert_allclose(table["rank_accuracy"], area)
    annotated_patches.masks[0] = 0
    table = pointing.measure_pixels(dead, annotated_patches)
    assert table.loc[0, ["pointing", "energy_ratio", "iou_neoplastic"]].isna().all()
    assert table.loc[1:, ["pointing", "energy_ratio", "iou_neoplastic"]].notna().all(axis=None)


def test_rings_lie_around_nuclei_and_in_no_other():
    nuclei = np.zeros((30, 30), np.int32)
    nuclei[10:14, 10:14], nuclei[10:14, 15:19] = 3, 7
    heat = np.where(nuclei == 3, 5.0, np.where(nuclei == 7, 9.0, 1.0))
    means = pointing.inside_and_around(heat, nuclei, np.array([3, 7]))
    np.testing.assert_allclose(means, [[5, 1], [9, 1]])


def test_each_nucleus_counts_once_where_most_of_it_is(neighbouring_patches):
    nuclei = pointing.whole_nuclei(neighbouring_patches)
    assert nuclei["nucleus"].tolist() == [1, 2]
    assert nuclei["patch"].tolist() == [0, 1]  # the second is cut: 1 column and 3
    heat = np.zeros((2, 16, 16))
    heat[0], heat[1] = 1, 2
    scores = pointing.score_nuclei(heat, neighbouring_patches, nuclei)
    assert scores["inside"].tolist() == [1, 2]


def _nuclei(generator, group, neoplastic, others):
    count = neoplastic + others
    columns = {
        "group": group,
        "type": ["neoplastic"] * neoplastic + ["connective"] * others,
        "area": generator.integers(50, 200, count).astype(float),
        "inside": generator.integers(0, 6, count).astype(float),  # with ties
        "around": generator.random(count),
    }
    return pd.DataFrame(columns)


def test_auroc_by_group_is_the_rank_sum():
    generator = np.random.default_rng(0)
    sizes = {"a": (9, 7), "few": (4, 9), "alone": (9, 1), "b": (5, 2)}
    tables = [_nuclei(generator, group, *counts) for group, counts in sizes.items()]
    by_group = pointing.auroc_by_group(pd.concat(tables)).set_index("group")
    assert list(by_group.index) == ["a", "b"]
    for group, table in (("a", tables[0]), ("b", tables[3])):
        neoplastic, others = sizes[group]
        ranks = rankdata(table["inside"])[:neoplastic].sum()
        auroc = (ranks - neoplastic * (neoplastic + 1) / 2) / (neoplastic * others)
        assert by_group.loc[group, "auroc"] == pytest.approx(auroc)
        assert by_group.loc[group, ["neoplastic", "others"]].tolist() == [neoplastic, others]
        values = [*table["inside"][:neoplastic], *table["around"][:neoplastic]]
        ranks = rankdata(values)[:neoplastic].sum()
        auroc = (ranks - neoplastic * (neoplastic + 1) / 2) / neoplastic**2
        assert by_group.loc[group, "auroc_ring"] == pytest.approx(auroc)


def test_nuclei_of_other_sizes_do_not_count_as_of_the_same_size():
    areas = [100.0] * 5 + [100.0, 300.0]
    inside = [1.0] * 5 + [2.0, 0.0]  # wins against the large nucleus only
    types = ["neoplastic"] * 5 + ["connective"] * 2
    columns = {"group": "a", "type": types, "area": areas, "inside": inside, "around": np.nan}
    row = pointing.auroc_by_group(pd.DataFrame(columns)).iloc[0]
    assert row["auroc"] == 0.5 and row["auroc_same_size"] == 0 and np.isnan(row["auroc_ring"])
