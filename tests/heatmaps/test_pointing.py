import numpy as np
import pytest

from utils import heatmaps
from utils.claims import judge_c2
from utils.heatmaps import pointing
from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet


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


def test_average_precision(masks):
    assert pointing.average_precision(masks.astype(float), masks).tolist() == [1, 1]
    constant = pointing.average_precision(np.ones(masks.shape), masks)
    np.testing.assert_allclose(constant, masks.mean(axis=(1, 2)))
    heat = np.zeros((1, 2, 2))
    heat[0] = [[4, 3], [2, 1]]  # of the two that are inside, one is found first and one third
    truth = np.array([[[True, False], [True, False]]])
    np.testing.assert_allclose(pointing.average_precision(heat, truth), (1 + 2 / 3) / 2)
    among = np.array([[[True, True], [False, True]]])
    assert pointing.average_precision(heat, truth, among).tolist() == [1]
    assert np.isnan(pointing.average_precision(masks.astype(float), masks, masks)).all()


def test_annotated(annotated_patches):
    annotated_patches.masks[0] = UNANNOTATED
    annotated_patches.masks[1] = 0
    assert len(heatmaps.annotated(annotated_patches)) == 3
    with pytest.raises(ValueError, match="50% of neoplastic area"):
        heatmaps.annotated(annotated_patches, least=0.5)
    bare = PatchSet(
        *(getattr(annotated_patches, n) for n in ("images", "labels", "groups")), [], []
    )
    with pytest.raises(ValueError, match="has no masks"):
        heatmaps.annotated(bare)


def test_a_perfect_map_is_judged_so_and_a_blind_one_is_not(annotated_patches):
    neoplastic = (annotated_patches.masks == NEOPLASTIC).astype(np.float32)
    centre = heatmaps.baseline_maps(annotated_patches.images)["centre"]
    maps = {
        ("finetuned", "gradcam", "late"): neoplastic,
        ("finetuned", "gradcam++", "late"): np.zeros_like(neoplastic),
        ("random", "gradcam", "late"): centre,
        ("random", "gradcam++", "late"): neoplastic,
        ("", "centre", ""): centre,
    }
    with pytest.raises(ValueError, match="expected the same shape"):
        pointing.localization_table({("", "centre", ""): centre[:1]}, annotated_patches)
    table = pointing.localization_table(maps, annotated_patches)
    assert len(table) == 25
    dead = table[(table["network"] == "finetuned") & (table["method"] == "gradcam++")]
    assert (dead["dead"] == 1).all() and (dead["energy_ratio"] == 1).all()  # as a uniform map
    np.testing.assert_allclose(dead["pointing"], 16 / 256)
    comparison = heatmaps.compare_with_baselines(table).set_index("method")
    assert (comparison.loc["gradcam", "low"] > 0).all()
    assert set(comparison["baseline"]) == {"random network", "centre map"}
    against = comparison[comparison["baseline"] == "random network"]
    assert (against.loc["gradcam++", "high"] < 0).all()
    comparison = comparison.reset_index()
    assert "The data support C2 in part: 1 of 2" in judge_c2(comparison)
    for method, verdict in (("gradcam", "support C2:"), ("gradcam++", "do not support C2:")):
        alone = heatmaps.compare_with_baselines(table, methods=[method])
        assert f"The data {verdict}" in judge_c2(alone)
    wider = comparison[comparison["method"] == "gradcam"]["low"].to_numpy()
    alone = heatmaps.compare_with_baselines(table, methods=["gradcam"])["low"].to_numpy()
    assert (wider <= alone).all()  # for two maps together, and for one


def test_every_map_is_measured_once(tiny_classifier, annotated_patches):
    networks = {"finetuned": tiny_classifier}
    table = heatmaps.measure_networks(networks, annotated_patches, ["early", "late"])
    maps = set(table[["network", "method", "layer"]].itertuples(index=False, name=None))
    of_network = {key for key in maps if key[0]}
    assert len(of_network) == 3 * 2 + 1 and ("finetuned", "saliency", "input") in maps
    assert {key[1] for key in maps - of_network} == set(heatmaps.BASELINES)
    assert len(table) == len(maps) * len(annotated_patches)
