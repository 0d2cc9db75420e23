from functools import partial

import h5py
import numpy as np
import pytest
import shapely

from utils import cluster
from utils.heatmaps import evaluate_slide, explain, highest_regions, map_slide
from utils.heatmaps.slides import explain_tiles
from utils.networks import load_features
from utils.patches import Cut, SlidePatches, load_slides, open_slide, read_annotations

CUT = Cut(microns_per_pixel=2.0, size=32)


@pytest.fixture
def slide(slides):
    return open_slide(slides / "patient_001_node_0.tif")


@pytest.fixture
def mapped(tiny_classifier, slide, tmp_path):
    object.__setattr__(tiny_classifier, "sha256", "test")
    return partial(map_slide, tiny_classifier, slide, tmp_path / "maps.h5", cut=CUT)


def test_tiles_say_what_the_network_says_of_each(mapped, tiny_classifier, slide):
    maps = mapped(microns_per_pixel=2.0)
    assert len(maps.corners) > 300
    tiles = SlidePatches(slide, maps.corners, 32, 2.0)[:7]
    np.testing.assert_allclose(maps.probability[:7], tiny_classifier.predict(tiles), atol=1e-6)
    expected = explain(
        tiny_classifier, tiles, layer="late", methods=["gradcam"], modifier="signed", scaled=False
    )
    np.testing.assert_allclose(maps.evidence["gradcam"][:7], expected["gradcam"], atol=1e-5)


def test_overlapping_tiles_are_averaged(mapped):
    maps = mapped(microns_per_pixel=16.0)  # two pixels of the slide's map per step of a tile
    probability = maps.over_slide(maps.probability)
    assert probability.shape == (60, 60) and maps.step == 32
    for y, x in ((20, 20), (31, 44)):
        place = np.array([x, y]) * 32 + 16
        over = ((maps.corners <= place) & (place < maps.corners + 128)).all(axis=1)
        assert over.sum() == 4
        assert probability[y, x] == pytest.approx(maps.probability[over].mean(), abs=1e-6)
    assert np.isnan(probability[0, 0])  # glass


def test_a_run_goes_on_and_a_finished_one_is_read(mapped, monkeypatch, tmp_path):
    monkeypatch.setattr("utils.heatmaps.slides.CHUNK", 128)
    whole, calls = mapped(), []

    def stopping(*arguments):
        calls.append(len(arguments[1]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return explain_tiles(*arguments)

    monkeypatch.setattr("utils.heatmaps.slides.explain_tiles", stopping)
    again = mapped()
    assert not calls
    np.testing.assert_array_equal(again.logit, whole.logit)
    (tmp_path / "maps.h5").unlink()
    with pytest.raises(KeyboardInterrupt):
        mapped()
    again = mapped()
    assert len(calls) == 1 + -(-len(whole.logit) // 128)  # the first chunk is not made again
    np.testing.assert_array_equal(again.logit, whole.logit)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.h5"]


def test_other_options_are_made_anew(mapped, tmp_path):
    one = mapped()
    other = mapped(overlap=0.0)
    assert len(other.logit) < len(one.logit) / 3
    with pytest.raises(ValueError, match="overlap is 1"):
        mapped(overlap=1)
    with pytest.raises(ValueError, match=r"\['gradient'\]; expected methods of a layer: gradcam"):
        mapped(methods=["gradient"])
    (tmp_path / "maps.h5").write_text("text")
    with pytest.raises(ValueError, match="maps.h5 exists, and is no HDF5"):
        mapped()


def test_files_are_those_of_trident(mapped, tmp_path, slides):
    maps = mapped(overlap=0.0)
    with h5py.File(tmp_path / "maps.h5") as file:
        assert file["coords"].dtype == np.int64 and file.attrs["patch_size_level0"] == 128
        np.testing.assert_array_equal(file["coords"], maps.corners)
    patches = load_slides(slides / "patient_001_node_0.tif", microns_per_pixel=2.0, size=32)
    (features,) = load_features(tmp_path / "maps.h5", patches).values()
    rows = [maps.corners.tolist().index(place) for place in patches.positions.tolist()]
    with h5py.File(tmp_path / "maps.h5") as file:
        np.testing.assert_array_equal(features, file["features"][:][rows])


def test_tiles_that_cannot_be_read_are_left_out(mapped, tiny_classifier, damaged, tmp_path):
    options = {"cut": Cut(size=64, microns_per_pixel=0.5), "overlap": 0.0}
    whole = mapped(**options)
    with pytest.warns(UserWarning, match="patches cannot be read, and are left out: .*damaged"):
        maps = map_slide(tiny_classifier, open_slide(damaged), tmp_path / "other.h5", **options)
    kept = np.isin(whole.corners @ [1, 10**6], maps.corners @ [1, 10**6])
    assert 0.8 < kept.mean() < 1
    np.testing.assert_array_equal(maps.corners, whole.corners[kept])
    np.testing.assert_allclose(maps.logit, whole.logit[kept], atol=1e-5)


def test_evaluation_agrees_with_counts(mapped, slides):
    maps = mapped(overlap=0.0)
    annotations = read_annotations(slides / "patient_001_node_0.xml")
    squares = shapely.box(*maps.corners.T, *(maps.corners.T + 128))
    share = shapely.area(shapely.intersection(annotations.tumor(), squares)) / 128**2
    inside, known = share >= 0.5, (share >= 0.5) | (share == 0)
    result = evaluate_slide(maps, annotations)
    pairs = maps.logit[inside][:, None] - maps.logit[known & ~inside][None]
    assert result["auc"] == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert result["tumor"] == inside.sum()
    assert result["expected"] == pytest.approx(inside.sum() / known.sum())
    best = np.argsort(-maps.logit[known], kind="stable")[:50]
    assert result["top"] == inside[known][best].mean()
    assert np.isnan(evaluate_slide(maps, None)["auc"])
    assert evaluate_slide(maps, None, "normal")["tumor"] == 0


def test_the_highest_regions_are_outlined():
    heat = np.full((20, 30), np.nan, np.float32)
    heat[5:15, 5:25] = 0
    heat[6:9, 10:14] = 1
    heat[7, 11] = 0
    area = highest_regions(heat, 8.0, share=0.05)
    expected = shapely.box(80, 48, 112, 72) - shapely.box(88, 56, 96, 64)
    assert area.equals(expected)


def test_workers_make_the_same_maps(mapped, tmp_path, call_by_value):
    here = mapped()
    (tmp_path / "maps.h5").unlink()
    cluster.connect("local", workers=2)
    try:
        elsewhere = mapped()
    finally:
        cluster.disconnect()
    np.testing.assert_allclose(elsewhere.logit, here.logit, atol=1e-5)
    np.testing.assert_allclose(elsewhere.evidence["gradcam"], here.evidence["gradcam"], atol=1e-5)
