from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from utils import heatmaps
from utils.claims import judge_c2
from utils.heatmaps import evaluation, explain
from utils.networks import Finetuning, linear_probe
from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet


@pytest.fixture
def masks():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :4, :4], masks[1, 2:4, 2:6] = True, True
    return masks


def test_pointing_game(masks):
    maps = np.zeros(masks.shape, np.float32)
    maps[0, 1, 1], maps[1, 7, 7] = 1, 1
    assert evaluation.pointing_game(maps, masks).tolist() == [1, 0]
    uniform = evaluation.pointing_game(np.ones_like(maps), masks)
    np.testing.assert_allclose(uniform, masks.mean(axis=(1, 2)))


def test_energy_inside(masks):
    maps = np.where(masks, 3.0, 1.0)
    area = masks.mean(axis=(1, 2))
    expected = 3 * area / (3 * area + 1 - area)
    np.testing.assert_allclose(evaluation.energy_inside(maps, masks), expected)
    assert np.isnan(evaluation.energy_inside(np.zeros_like(maps), masks)).all()


def test_average_precision(masks):
    everywhere = np.ones_like(masks)
    found = evaluation.average_precision(masks.astype(float), masks, everywhere)
    assert found.tolist() == [1, 1]
    constant = evaluation.average_precision(np.ones(masks.shape), masks, everywhere)
    np.testing.assert_allclose(constant, masks.mean(axis=(1, 2)))
    heat = np.array([[[4, 3], [2, 1]]])  # of the two inside, one is found first and one third
    truth = np.array([[[True, False], [True, False]]])
    found = evaluation.average_precision(heat, truth, np.ones_like(truth))
    np.testing.assert_allclose(found, (1 + 2 / 3) / 2)
    among = np.array([[[True, True], [False, True]]])
    assert evaluation.average_precision(heat, truth, among).tolist() == [1]
    assert np.isnan(evaluation.average_precision(masks.astype(float), masks, masks)).all()


def test_annotated(annotated_patches):
    annotated_patches.masks[0] = UNANNOTATED
    annotated_patches.masks[1] = 0
    assert len(heatmaps.annotated(annotated_patches)) == 3
    with pytest.raises(ValueError, match="2% of neoplastic area"):
        heatmaps.annotated(annotated_patches.select([0, 1]))
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
    table = evaluation.localization_table(maps, annotated_patches)
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
    alone = {}
    for method, verdict in (("gradcam", "support C2:"), ("gradcam++", "do not support C2:")):
        alone[method] = heatmaps.compare_with_baselines(
            table[table["method"].isin([method, "centre"])]
        )
        assert f"The data {verdict}" in judge_c2(alone[method])
    wider = comparison[comparison["method"] == "gradcam"]["low"].to_numpy()
    assert (wider <= alone["gradcam"]["low"].to_numpy()).all()  # for two maps together, and for one


def test_every_map_is_measured_once(tiny_classifier, annotated_patches):
    networks = {"finetuned": tiny_classifier}
    table = heatmaps.measure_networks(networks, annotated_patches, ["early", "late"])
    maps = set(table[["network", "method", "layer"]].itertuples(index=False, name=None))
    of_network = {key for key in maps if key[0]}
    assert len(of_network) == 4 * 2 + 2 and ("finetuned", "gradient", "input") in maps
    assert {key[1] for key in maps - of_network} == set(heatmaps.BASELINES)
    assert len(table) == len(maps) * len(annotated_patches)


def test_insertion_and_deletion(tiny_classifier, annotated_patches):
    maps = explain(tiny_classifier, annotated_patches.images, methods=["gradcam"])
    maps["reversed"] = 1 - maps["gradcam"]
    table = heatmaps.insertion_deletion(tiny_classifier, annotated_patches, maps, steps=4)
    assert len(table) == 2 * 2 * 5 * 5
    whole = tiny_classifier.predict(annotated_patches.images)
    for method in maps:
        part = (
            table[table["method"] == method]
            .set_index(["curve", "share", "patch"])["probability"]
            .sort_index()
        )
        np.testing.assert_allclose(part["insertion", 1.0], whole, atol=1e-6)
        np.testing.assert_allclose(part["deletion", 0.0], whole, atol=1e-6)
        np.testing.assert_allclose(part["deletion", 1.0], part["insertion", 0.0], atol=1e-6)
    areas = heatmaps.curve_areas(table).set_index(["method", "patch"])
    first = table[(table["method"] == "gradcam") & (table["patch"] == 0)]
    values = first.loc[first["curve"] == "insertion", "probability"].to_numpy()
    expected = (values[1:] + values[:-1]).mean() / 2  # the trapezoids
    np.testing.assert_allclose(areas.loc[("gradcam", 0), "insertion"], expected, atol=1e-6)


def test_ties_are_broken_at_random(tiny_classifier, annotated_patches):
    """A dead map inserts pixels from everywhere, not from the top."""
    seen = []
    predict = tiny_classifier.predict
    object.__setattr__(
        tiny_classifier, "predict", lambda batch: seen.append(batch) or predict(batch)
    )
    dead = {"dead": np.zeros((5, 16, 16), np.float32)}
    tables = [
        heatmaps.insertion_deletion(tiny_classifier, annotated_patches, dead, steps=2)
        for _ in range(2)
    ]
    pd.testing.assert_frame_equal(*tables)
    half = seen[0].reshape(3, 5, 16, 16, 3)[1]
    kept = (half == annotated_patches.images).all(axis=-1)
    for part in (kept[:, :8], kept[:, 8:]):
        assert 0.3 < part.mean() < 0.7


def test_insertion_follows_the_map(tiny_classifier, images):
    """A map that ranks pixels from left to right inserts columns from left to right."""
    ramp = np.broadcast_to(np.linspace(1, 0, 16, dtype=np.float32), (1, 16, 16))
    patches = PatchSet(images[:1], np.ones(1, int), *(np.array(["a"]),) * 2, np.zeros((1, 2), int))
    seen = []
    predict = tiny_classifier.predict
    object.__setattr__(
        tiny_classifier, "predict", lambda batch: seen.append(batch) or predict(batch)
    )
    heatmaps.insertion_deletion(tiny_classifier, patches, {"ramp": ramp}, steps=2)
    half = seen[0][1]  # insertion at a share of one half
    np.testing.assert_array_equal(half[:, :8], images[0, :, :8])
    assert (half[:, 8:] == np.round(images[0].mean(axis=(0, 1)))).all()


def test_baseline_maps():
    images = np.full((2, 40, 40, 3), 240, np.uint8)
    images[:, 5:12, 25:32] = (70, 50, 130)  # a nucleus in haematoxylin
    maps = heatmaps.baseline_maps(images)
    assert list(maps) == ["uniform", "centre", "random", "haematoxylin"]
    for heat in maps.values():
        assert heat.shape == (2, 40, 40) and heat.dtype == np.float32
        assert heat.min() >= 0 and heat.max() == 1
    assert maps["haematoxylin"][:, 8, 28].min() > 0.9 and maps["haematoxylin"][0, 30, 10] < 0.1
    assert maps["centre"][0, 20, 20] > 0.95 > maps["centre"][0, 0, 0]
    assert (maps["random"][0] != maps["random"][1]).any()
    again = heatmaps.baseline_maps(images)["random"]
    np.testing.assert_array_equal(maps["random"], again)
    assert maps.keys() == heatmaps.BASELINES.keys()


def test_finetuned_networks_are_measured_on_what_they_have_not_seen(
    tiny_model, tiny_classifier, colored_patches
):
    masks = np.zeros((64, 16, 16), np.uint8)
    masks[:, 4:9, 4:9], masks[:, 10:12, 10:12] = NEOPLASTIC, 1
    patches = replace(colored_patches, masks=masks)
    groups = [f"slide{i}" for i in range(8)]
    hashed = replace(tiny_classifier, sha256="0123")
    finetunings = [
        Finetuning(hashed, {"held_out": groups[:4], "trained_on": groups[4:]}),
        Finetuning(hashed, {"held_out": groups[:4], "trained_on": groups[4:]}),
        Finetuning(hashed, {"held_out": groups[4:], "trained_on": groups[:4]}),
    ]
    rivals = {"pretrained": tiny_model}
    mixed = replace(colored_patches, labels=np.arange(64) % 2)  # both classes in every group
    table = heatmaps.measure_finetunings(finetunings, rivals, mixed, patches, ["late"])
    assert set(table["network"]) == {"finetuned", "pretrained", ""}
    counts = table.groupby(["network", "method", "layer"])["patch"].agg(["size", "nunique"])
    assert (counts == 64).all(axis=None)
    probe = linear_probe(tiny_model, mixed.select(np.arange(32, 64)))
    expected = heatmaps.measure_networks({"pretrained": probe}, patches.select([5]), ["late"])
    found = table[(table["patch"] == 5) & (table["network"] == "pretrained")]
    columns = ["pointing", "energy_ratio", "average_precision", "among_nuclei"]
    expected = expected[expected["network"] == "pretrained"]
    np.testing.assert_allclose(found[columns], expected[columns], rtol=1e-4)
    unknown = [Finetuning(hashed, {})]
    alone = heatmaps.measure_finetunings(unknown, rivals, mixed, patches, ["late"])
    assert set(alone["network"]) == {"finetuned", ""}
