from dataclasses import replace
from functools import partial

import cv2
import pytest

from utils.networks import BACKBONES
from utils.networks.weights import finetuned_paths


@pytest.fixture
def call(call_module):
    return partial(call_module, "utils.networks")


def test_patches_are_finetuned_tested_and_described(
    tiny_model, colored_patches, tmp_path, monkeypatch, call
):
    source = tmp_path / "tiny.weights.h5"
    tiny_model.network.save_weights(source)
    backbone = replace(tiny_model.backbone, pretrained=lambda: (source, "made for this test"))
    monkeypatch.setitem(BACKBONES, "tiny", backbone)
    for i, (image, label) in enumerate(
        zip(colored_patches.images, colored_patches.labels, strict=True)
    ):
        path = tmp_path / "data" / ("normal", "tumor")[label] / f"patient{i // 4}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image[..., ::-1])
    about = "--backbone", "tiny", "--patches", tmp_path / "data"
    out = tmp_path / "models"
    options = "--epochs", 2, "--batch-size", 16, "--folds", 2, "--out", out
    code, printed, errors = call("finetune", *about, *options)
    assert code == 0 and printed == "tiny\n"
    assert "finetuned Tiny, fold 0, seed 0: 64 patches of data" in errors
    assert "epochs 2" in errors and "colours" in errors and errors.count("grey patch") == 2
    code, printed, _ = call("info", "--out", out)
    assert code == 0 and printed.count("finetuned Tiny, fold") == 2
    assert printed.count("times a random draw's deviation") == 2

    weights, manifest = finetuned_paths(backbone, out)
    code, printed, _ = call("gate", *about, "--checkpoint", weights)
    assert code == ("hardly" in printed) and "unknown" not in printed.split("The ")[-1]
    manifest.unlink()
    code, printed, _ = call("gate", *about, "--checkpoint", weights)
    assert "Held-out groups unknown" in printed
    code, _, _ = call("info", "--out", tmp_path / "empty")
    assert "has no finetuned network: make one" in code
