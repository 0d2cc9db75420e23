from functools import partial

import cv2
import numpy as np
import pytest

from utils.networks import BACKBONES


@pytest.fixture
def call(call_module):
    return partial(call_module, "utils.heatmaps")


def test_an_image_is_explained(tiny_classifier, images, tmp_path, monkeypatch, call):
    monkeypatch.setitem(BACKBONES, "tiny", tiny_classifier.backbone)
    weights, picture, out = (tmp_path / n for n in ("m.keras", "patch.png", "new/overlay.png"))
    tiny_classifier.network.save(weights)
    cv2.imwrite(str(picture), images[0][..., ::-1])
    options = ("--weights", weights, "--backbone", "tiny")
    code, said, _ = call(picture, *options, "--out", out)
    assert code == 0
    assert f"p(tumor) = {tiny_classifier.predict(images[:1])[0]:.3f}" in said
    assert np.ptp(cv2.imread(str(out))) > 0
    before = out.read_bytes()
    call(picture, *options, "--out", out)
    assert out.read_bytes() == before
    for arguments, words in (
        ((tmp_path / "absent.png", *options, "--out", out), "absent.png cannot be read"),
        ((picture, *options, "--out", tmp_path / "overlay.gif"), "ending in .png or .jpg"),
        ((picture, *options, "--out", out, "--layer", "mixed9"), "no layer 'mixed9'"),
    ):
        code, *_ = call(*arguments)
        assert words in code
    assert out.read_bytes() == before


def test_a_slide_is_explained(tiny_classifier, slides, tmp_path, monkeypatch, call):
    monkeypatch.setitem(BACKBONES, "tiny", tiny_classifier.backbone)
    tiny_classifier.network.save(tmp_path / "m.keras")
    options = ("--weights", tmp_path / "m.keras", "--backbone", "tiny", "--out", tmp_path / "out")
    options += ("--microns-per-pixel", 2, "--size", 32, "--overlap", 0)
    slide = slides / "patient_001_node_0.tif"
    code, said, _ = call(slide, *options, "--annotations", slide.with_suffix(".xml"))
    assert code == 0 and "auc: " in said and "expected: " in said
    endings = [".h5", ".jpg", ".tif", "_gradcam++.geojson", "_gradcam.geojson"]
    endings += ["_probability.geojson", "_probability.tif"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{slide.stem}{ending}" for ending in endings]
    code, *_ = call(slide, *options, "--slide-microns", 99)
    assert "expected 0.05 to 20" in code
