from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from utils import figures
from utils.patches import PatchSet
from utils.results import Results, whole_file


def test_an_interrupted_file_keeps_the_old_one(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    with whole_file(path) as scratch:
        scratch.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as scratch:
        scratch.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]


def _draw(folder):
    figures.use_style()
    generator = np.random.default_rng(0)
    images = generator.random((3, 16, 16, 3)).astype(np.float32)
    results = Results(folder, "experiment")
    rows = [
        (network, layer, concept, r2, r2, r2 - 0.1, r2 + 0.1, -0.1, 0.1)
        for network, r2 in (("random", 0.2), ("pretrained", 0.6))
        for layer in ("a", "b")
        for concept in ("contrast", "ASM")
    ]
    columns = ["network", "layer", "concept", "r2", "adjusted_r2"]
    columns += ["low", "high", "null_low", "null_high"]
    table = pd.DataFrame(rows, columns=columns)
    results.figure(figures.patchwork(images, ["1", "2", "3"], title="t"), "patchwork.png")
    channels = {"a": [1, 2, 3]}
    overview = figures.channel_overview({"x": {"a": images}, "y": {"a": images}}, channels)
    results.figure(overview, "overview.png")
    results.figure(figures.r2_panels(table, table), "r2.png")
    pixels = np.uint8(255 * images)
    panel = figures.explanations(pixels, {"gradcam": pixels}, ["1", "2", "3"])
    results.figure(panel, "panel.png")
    results.image(images[0], "image.png")
    results.table(pd.DataFrame({"x": [1 / 3]}), "table.csv")
    return {path.name: path.read_bytes() for path in results.files}


def test_same_results_same_bytes(tmp_path):
    first, second = _draw(tmp_path / "1"), _draw(tmp_path / "2")
    assert first == second and len(first) == 6
    picture = cv2.imread(str(tmp_path / "1" / "experiment" / "image.png"))[..., ::-1]
    expected = np.random.default_rng(0).random((3, 16, 16, 3)).astype(np.float32)[0]
    np.testing.assert_array_equal(picture, np.round(255 * expected).astype(np.uint8))
    assert all(b"matplotlib" not in first[name] for name in first)


def test_outlines_follow_the_neoplastic_nuclei():
    image = np.zeros((1, 20, 20, 3), np.uint8)
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 5:10, 5:10], mask[0, 15:18, 15:18] = 3, 2
    patches = PatchSet(image, np.ones(1), *(np.array(["a"]),) * 2, np.zeros((1, 2)), mask)
    drawn = figures.outlined(patches)["neoplastic nuclei"][0].any(axis=-1)
    assert drawn[5, 5:10].all() and not drawn[7, 7] and not drawn[13:].any()
    assert not image.any()
    assert figures.outlined(replace(patches, masks=None)) == {}
