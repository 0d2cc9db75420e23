from dataclasses import replace

import numpy as np
import pytest

from utils.networks import finetuned, finetuned_model, held_out_patches, load_model, load_networks
from utils.networks.weights import finetuned_paths


def test_checkpoint_is_made_once_and_checked(sample, tmp_path):
    patches = sample.select(np.arange(0, len(sample), 8))
    model, manifest = finetuned_model("densenet121", patches, folder=tmp_path, epochs=1)
    weights, written = finetuned_paths("densenet121", tmp_path)
    stamps = weights.stat().st_mtime_ns, written.stat().st_mtime_ns
    again, _ = finetuned_model("densenet121", patches, folder=tmp_path, epochs=1)
    assert (weights.stat().st_mtime_ns, written.stat().st_mtime_ns) == stamps
    few = patches.images[:4]
    np.testing.assert_array_equal(model.predict(few), again.predict(few))
    assert manifest["metrics"]["auc"] > 0.5
    unseen, rest = held_out_patches(sample, weights, "densenet121")
    assert set(unseen.groups) <= set(manifest["held_out"]) < set(sample.groups)
    assert len(unseen) + len(rest) == len(sample) and not set(unseen.groups) & set(rest.groups)
    assert held_out_patches(sample, tmp_path / "other.h5", "densenet121") == (sample, None)
    with pytest.raises(ValueError, match=r"'seed': 0.*not.*'seed': 1"):
        finetuned_model("densenet121", patches, folder=tmp_path, epochs=1, seed=1)
    with open(weights, "ab") as file:
        file.write(b"x")
    with pytest.raises(RuntimeError, match="its manifest says"):
        load_model("finetuned", "densenet121", folder=tmp_path)
    assert sorted(p.suffix for p in tmp_path.iterdir() if p.suffix != ".lock") == [".h5", ".json"]


def test_networks_come_in_one_order_and_the_finetuned_is_made_where_missing(
    tiny_classifier, monkeypatch, capsys
):
    def load(weights, backbone, seed=0):
        return replace(tiny_classifier, weights=str(weights), origin=f"{backbone}, seed {seed}")

    def make(backbone):
        return load("finetuned", backbone, seed="of the sample"), {}

    monkeypatch.setattr(finetuned, "load_model", load)
    monkeypatch.setattr(finetuned, "finetuned_model", make)
    networks = load_networks("tiny", random=3, seed=4)
    assert list(networks) == ["pretrained", "finetuned", "random", "random 2", "random 3"]
    assert capsys.readouterr().out.splitlines() == [
        "pretrained Tiny: tiny, seed 0",
        "finetuned Tiny: tiny, seed of the sample",
        *(f"random Tiny: tiny, seed {seed}" for seed in (4, 5, 6)),
    ]
    assert load_networks("tiny", "user.keras")["finetuned"].title == "Tiny (user.keras)"
