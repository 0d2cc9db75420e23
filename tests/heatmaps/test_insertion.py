import numpy as np
import pandas as pd
import pytest

from utils import heatmaps
from utils.heatmaps import explain
from utils.patches import PatchSet


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
    normal = heatmaps.insertion_deletion(
        tiny_classifier, annotated_patches, maps, steps=4, target="normal"
    )
    np.testing.assert_allclose(normal["probability"], 1 - table["probability"])
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
    blurred = heatmaps.insertion_deletion(
        tiny_classifier, patches, {"ramp": ramp}, steps=2, fill="blur"
    )
    assert len(blurred) == 6 and len(np.unique(seen[1][0])) > 3
    with pytest.raises(ValueError, match="mean or blur"):
        heatmaps.insertion_deletion(tiny_classifier, patches, {"ramp": ramp}, fill="black")
