import numpy as np
import pandas as pd
import pytest

from utils import heatmaps
from utils.heatmaps import explain, insertion
from utils.patches import PatchSet


def test_insertion_and_deletion(tiny_classifier, annotated_patches):
    maps = explain(tiny_classifier, annotated_patches.images, methods=["gradcam"])
    maps["reversed"] = 1 - maps["gradcam"]
    table = heatmaps.insertion_deletion(tiny_classifier, annotated_patches, maps, steps=4)
    assert len(table) == 2 * 2 * 5 * 5
    whole = tiny_classifier.log_odds(annotated_patches.images)
    for method in maps:
        part = (
            table[table["method"] == method]
            .set_index(["curve", "share", "patch"])["logit"]
            .sort_index()
        )
        np.testing.assert_allclose(part["insertion", 1.0], whole, atol=1e-6)
        np.testing.assert_allclose(part["deletion", 0.0], whole, atol=1e-6)
        np.testing.assert_allclose(part["deletion", 1.0], part["insertion", 0.0], atol=1e-6)
    areas = heatmaps.curve_areas(table).set_index(["method", "patch"])
    first = table[(table["method"] == "gradcam") & (table["patch"] == 0)]
    values = first.loc[first["curve"] == "insertion", "logit"].to_numpy()
    expected = (values[1:] + values[:-1]).mean() / 2  # the trapezoids
    np.testing.assert_allclose(areas.loc[("gradcam", 0), "insertion"], expected, atol=1e-6)


@pytest.fixture
def shown(tiny_classifier):
    """The images that the network is asked about, call by call."""
    calls = []
    log_odds = tiny_classifier.log_odds
    object.__setattr__(
        tiny_classifier, "log_odds", lambda batch: calls.append(batch) or log_odds(batch)
    )
    return calls


def test_ties_are_broken_at_random(tiny_classifier, annotated_patches, shown):
    """A dead map inserts pixels from everywhere, not from the top."""
    dead = {"dead": np.zeros((5, 16, 16), np.float32)}
    tables = [
        heatmaps.insertion_deletion(tiny_classifier, annotated_patches, dead, steps=2)
        for _ in range(2)
    ]
    pd.testing.assert_frame_equal(*tables)
    half = shown[0][:5]  # insertion comes first
    kept = (half == annotated_patches.images).all(axis=-1)
    for side in (kept[:, :8], kept[:, 8:]):
        assert 0.3 < side.mean() < 0.7


@pytest.fixture
def ramp(images):
    """A map that ranks pixels from left to right, and its patch."""
    ramp = np.broadcast_to(np.linspace(1, 0, 16, dtype=np.float32), (1, 16, 16))
    group = np.array(["a"])
    patches = PatchSet(images[:1], np.ones(1, int), group, group, np.zeros((1, 2), int))
    return {"ramp": ramp}, patches


def test_insertion_follows_the_map(tiny_classifier, ramp, shown):
    maps, patches = ramp
    heatmaps.insertion_deletion(tiny_classifier, patches, maps, steps=2)
    half = shown[0][0]
    np.testing.assert_array_equal(half[:, :8], patches.images[0, :, :8])
    assert (half[:, 8:] == np.round(patches.images[0].mean(axis=(0, 1)))).all()


def test_removal_follows_the_map_from_either_end(tiny_classifier, ramp, shown):
    maps, patches = ramp
    table = heatmaps.remove_and_impute(tiny_classifier, patches, maps, shares=[0.25])
    assert table["curve"].tolist() == ["highest", "lowest"]
    highest, lowest = shown[0]
    for image, kept in ((highest, slice(4, 16)), (lowest, slice(0, 12))):
        np.testing.assert_array_equal(image[:, kept], patches.images[0, :, kept])
        assert (image != patches.images[0]).any()
    areas = heatmaps.curve_areas(
        heatmaps.remove_and_impute(tiny_classifier, patches, maps, shares=[0.25, 0.5])
    )
    assert areas.loc[0, "difference"] == areas.loc[0, "lowest"] - areas.loc[0, "highest"]


def test_imputed_pixels_solve_the_equations_of_their_neighbours(monkeypatch):
    """Against the dense system, for cells of one pixel and without noise."""
    monkeypatch.setattr(insertion, "CELL", 1)
    monkeypatch.setattr(insertion, "NOISE", 0)
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    removed = generator.random((6, 7)) < 0.5
    filled = insertion.impute(image, removed, generator).astype(float)
    np.testing.assert_array_equal(filled[~removed], image[~removed])
    unknown = [*zip(*np.nonzero(removed), strict=True)]
    matrix, right = np.eye(len(unknown)), np.zeros((len(unknown), 3))
    for row, (y, x) in enumerate(unknown):
        around = [
            ((y + dy, x + dx), 1 / 12 if dy and dx else 1 / 6)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if (dy or dx) and 0 <= y + dy < 6 and 0 <= x + dx < 7
        ]
        total = sum(weight for _, weight in around)
        for place, weight in around:
            if removed[place]:
                matrix[row, unknown.index(place)] -= weight / total
            else:
                right[row] += weight / total * image[place]
    np.testing.assert_allclose(filled[removed], np.linalg.solve(matrix, right), atol=0.51)


def test_imputation_continues_a_gradient():
    column = np.linspace(0, 255, 64)
    image = np.uint8(np.broadcast_to(column[:, None, None], (64, 61, 3)))
    removed = np.zeros((64, 61), bool)
    removed[20:40, 15:45] = True
    filled = insertion.impute(image, removed, np.random.default_rng(0))
    error = filled.astype(float) - image
    assert np.abs(error[removed]).mean() < 8 and (error[~removed] == 0).all()
    with pytest.raises(ValueError, match="a share of the area below 1"):
        insertion.impute(image, np.ones_like(removed), np.random.default_rng(0))
