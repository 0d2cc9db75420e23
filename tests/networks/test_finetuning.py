from dataclasses import replace

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from utils.networks import (
    evaluate,
    finetuned_model,
    finetuning,
    held_out_patches,
    layer_features,
    linear_probe,
    load_networks,
)
from utils.networks.finetuning import augment, finetune
from utils.networks.weights import finetuned_paths, load_finetuned


def test_finetuning_learns_and_repeats(tiny_model, colored_patches):
    train, test = colored_patches.split(folds=4)
    before = tiny_model.network.get_weights()
    options = {"epochs": 12, "learning_rate": 0.02, "batch_size": 16}
    one, again, other = (finetune(tiny_model, train, seed=s, **options) for s in (0, 0, 1))
    for first, second in zip(one.network.get_weights(), again.network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert (one.network.get_weights()[0] != other.network.get_weights()[0]).any()
    for first, second in zip(before, tiny_model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    scores = evaluate(test, one.predict(test.images))
    assert scores["auc"] > 0.9 and scores["patches"] == len(test)
    assert set(scores["by_group"]) == set(test.groups)
    assert all(group["auc"] is None for group in scores["by_group"].values())


def test_one_class_is_refused(tiny_model, colored_patches):
    with pytest.raises(ValueError, match="32 normal, 0 tumor"):
        finetune(tiny_model, colored_patches.select(colored_patches.labels == 0))


def test_augmentation_turns_and_stains(images):
    turned = augment(images, np.random.default_rng(0), stain_jitter=0)
    assert any((one != other).any() for one, other in zip(turned, images, strict=True))
    for one, other in zip(turned, images, strict=True):
        candidates = [np.rot90(other, k) for k in range(4)]
        candidates += [image[:, ::-1] for image in candidates]
        assert any((one == candidate).all() for candidate in candidates)
    stained = augment(images, np.random.default_rng(0), stain_jitter=0.05)
    assert stained.dtype == np.uint8 and (stained != turned).any()


def test_linear_probe(tiny_model, colored_patches):
    """Beats chance on unseen groups, and is scikit-learn's regression on the pooled features."""
    train, test = colored_patches.split(folds=4)
    hashed = replace(tiny_model, sha256="0123")
    probe = linear_probe(hashed, train)
    assert probe.sha256 not in ("", "0123")  # the head is a part of the weights
    assert linear_probe(hashed, test).sha256 != probe.sha256
    assert linear_probe(tiny_model, train).sha256 == ""
    probability = probe.predict(test.images)
    assert evaluate(test, probability)["auc"] > 0.9
    seen, unseen = (layer_features(tiny_model, patches.images)["late"] for patches in (train, test))
    scaler = StandardScaler().fit(seen)
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(scaler.transform(seen), train.labels)
    expected = regression.predict_proba(scaler.transform(unseen))[:, 1]
    np.testing.assert_allclose(probability, expected, atol=1e-3)
    assert isinstance(probe.network.layers[-1], keras.layers.Dense)
    with pytest.raises(ValueError, match="one class"):
        linear_probe(tiny_model, train.select(train.labels == 0))


def test_checkpoint_is_made_once_and_checked(tiny_model, colored_patches, tmp_path):
    source, folder = tmp_path / "tiny.weights.h5", tmp_path / "models"
    tiny_model.network.save_weights(source)
    backbone = replace(tiny_model.backbone, pretrained=lambda: (source, "made for this test"))
    options = {"folder": folder, "epochs": 12, "learning_rate": 0.02, "batch_size": 16}
    model, manifest = finetuned_model(backbone, colored_patches, **options)
    weights, written = finetuned_paths(backbone, folder)
    stamps = weights.stat().st_mtime_ns, written.stat().st_mtime_ns
    again, _ = finetuned_model(backbone, colored_patches, **options)
    assert (weights.stat().st_mtime_ns, written.stat().st_mtime_ns) == stamps
    few = colored_patches.images[:4]
    np.testing.assert_array_equal(model.predict(few), again.predict(few))
    assert manifest["metrics"]["auc"] > 0.9
    unseen, rest = held_out_patches(colored_patches, weights, backbone)
    assert set(unseen.groups) <= set(manifest["held_out"]) < set(colored_patches.groups)
    assert len(unseen) + len(rest) == len(colored_patches)
    assert not set(unseen.groups) & set(rest.groups)
    unknown = held_out_patches(colored_patches, folder / "other.h5", backbone)
    assert unknown == (colored_patches, None)
    with pytest.raises(ValueError, match=r"'seed': 0.*not.*'seed': 1"):
        finetuned_model(backbone, colored_patches, seed=1, **options)
    with open(weights, "ab") as file:
        file.write(b"x")
    with pytest.raises(RuntimeError, match="its manifest says"):
        load_finetuned(backbone, folder)
    assert sorted(p.suffix for p in folder.iterdir() if p.suffix != ".lock") == [".h5", ".json"]


def test_networks_come_in_one_order_and_the_finetuned_is_made_where_missing(
    tiny_classifier, monkeypatch, capsys
):
    def load(weights, backbone, seed=0):
        return replace(tiny_classifier, weights=str(weights), origin=f"{backbone}, seed {seed}")

    def make(backbone):
        return load("finetuned", backbone, seed="of the sample"), {}

    monkeypatch.setattr(finetuning, "load_model", load)
    monkeypatch.setattr(finetuning, "finetuned_model", make)
    networks = load_networks("tiny", random=3, seed=4)
    assert list(networks) == ["pretrained", "finetuned", "random", "random 2", "random 3"]
    assert capsys.readouterr().out.splitlines() == [
        "pretrained Tiny: tiny, seed 0",
        "finetuned Tiny: tiny, seed of the sample",
        *(f"random Tiny: tiny, seed {seed}" for seed in (4, 5, 6)),
    ]
    assert load_networks("tiny", "user.keras")["finetuned"].title == "Tiny (user.keras)"
