import json
from dataclasses import replace

import numpy as np
import pytest

from utils.networks import (
    finetuned,
    finetuned_by_epochs,
    finetuned_model,
    finetuned_models,
    finetuning,
    linear_probe,
    load_finetunings,
    load_model,
)
from utils.networks.weights import finetuned_paths, load_finetuned

OPTIONS = {"epochs": 2, "learning_rate": 0.02, "batch_size": 16}


@pytest.fixture
def backbone(tiny_model, tmp_path):
    source = tmp_path / "tiny.weights.h5"
    tiny_model.network.save_weights(source)
    made = replace(tiny_model.backbone, pretrained=lambda: (source, "made for this test"))
    return made


@pytest.fixture
def many_groups(colored_patches):
    groups = np.array([f"slide{i // 4}" for i in range(64)])
    return replace(colored_patches, groups=groups)


def test_every_group_is_held_out_once_per_seed(
    backbone, many_groups, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "models"
    options = {"folds": 3, "seeds": 2, "folder": folder, **OPTIONS}
    models = finetuned_models(backbone, many_groups, **options)
    assert len(models) == 6 and len({one.model.sha256 for one in models}) == 6
    assert "6 of 6 finetuned Tiny are to be made: some minutes each" in capsys.readouterr().out
    titles = [one.title for one in models]
    assert titles[:3] == ["fold 0, seed 0", "fold 0, seed 1", "fold 1, seed 0"]
    unseen = np.stack([one.unseen(many_groups) for one in models])
    assert (unseen.sum(axis=0) == 2).all()
    assert all(
        (one.seen(many_groups) != mask).all() for one, mask in zip(models, unseen, strict=True)
    )

    def never(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr("utils.networks.finetuned.finetune", never)
    never.__kwdefaults__ = finetuning.finetune.__kwdefaults__
    again = finetuned_models(backbone, many_groups, **options)
    assert [one.model.sha256 for one in again] == [one.model.sha256 for one in models]
    assert capsys.readouterr().out == ""
    path, manifest = finetuned_paths(backbone, folder, 1, 1)
    pairs = [(fold, seed) for fold in range(3) for seed in range(2)]
    made = [json.loads(finetuned_paths(backbone, folder, *p)[1].read_text()) for p in pairs]
    finetuned.print_estimate(backbone, folder, [*pairs, (0, 7), (1, 7)])
    expected = 2 * np.mean([one["seconds"] for one in made]) / 60
    assert (
        f"2 of 8 finetuned Tiny are to be made: about {expected:.0f} m" in capsys.readouterr().out
    )
    (one,) = load_finetunings(backbone, [path])
    assert one.manifest == models[3].manifest and one.title == "fold 1, seed 1"
    unknown = replace(one, manifest={})
    assert unknown.unseen(many_groups).all() and not unknown.seen(many_groups).any()
    assert not any(".state" in path.name for path in folder.iterdir())


def test_the_head_is_fitted_first_and_the_manifest_tells_what_came_of_it(
    backbone, many_groups, tmp_path
):
    options = {**OPTIONS, "learning_rate": 1e-9}
    model, manifest = finetuned_model(backbone, many_groups, folder=tmp_path, **options)
    training, held_out = many_groups.folds(3)[0]
    probe = linear_probe(load_model("pretrained", backbone), training)
    pairs = zip(model.network.get_weights(), probe.network.get_weights(), strict=True)
    for trained, fitted in pairs:
        np.testing.assert_allclose(trained, fitted, atol=1e-6)
    assert manifest["held_out"] == np.unique(held_out.groups).tolist()
    assert manifest["trained_on"] == np.unique(training.groups).tolist()
    baselines = manifest["baselines"]
    assert set(baselines) == {"pretrained features", "random features", "colours"}
    assert baselines["pretrained features"]["auc"] == manifest["metrics"]["auc"]
    assert baselines["colours"]["auc"] == 1
    assert len(manifest["gate"]) == 5 and len(manifest["epochs"]["loss"]) == 2
    assert sum(manifest["calibration"]["patches"]) == len(held_out)
    assert manifest["seconds"] > 0 and manifest["unsound_layers"] == []


def test_a_checkpoint_that_does_not_fit_is_refused(backbone, many_groups, tmp_path):
    options = {"folder": tmp_path / "models", **OPTIONS}
    finetuned_model(backbone, many_groups, **options)
    weights, written = finetuned_paths(backbone, tmp_path / "models")
    with pytest.raises(ValueError, match=r"'epochs': 2.*not.*'epochs': 1.*another folder"):
        finetuned_model(backbone, many_groups, **{**options, "epochs": 1})
    with open(weights, "ab") as file:
        file.write(b"x")
    with pytest.raises(RuntimeError, match="its manifest says"):
        load_finetuned(backbone, written)


def test_an_unfinished_run_of_other_options_is_not_resumed(
    backbone, many_groups, tmp_path, monkeypatch
):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    interrupted.__kwdefaults__ = finetuning.finetune.__kwdefaults__
    monkeypatch.setattr("utils.networks.finetuned.finetune", interrupted)
    options = {"folder": tmp_path, **OPTIONS}
    with pytest.raises(KeyboardInterrupt):
        finetuned_model(backbone, many_groups, **options)
    with pytest.raises(
        ValueError, match=r"unfinished run with .*'epochs': 2.*remove it, or resume"
    ):
        finetuned_model(backbone, many_groups, **{**options, "epochs": 1})


def test_folds_and_names_that_do_not_exist(backbone, many_groups, tmp_path):
    with pytest.raises(ValueError, match="folds=4, seeds=1; expected 1 to 3"):
        finetuned_models(backbone, many_groups, folds=4)
    with pytest.raises(ValueError, match="finetunings are 'two'; expected one, study or a list"):
        load_finetunings(backbone, "two")
    few = replace(many_groups, groups=np.where(many_groups.labels == 1, "a", many_groups.groups))
    with pytest.raises(ValueError, match="no split into 3 folds .* give more groups"):
        finetuned_model(backbone, few, folder=tmp_path)


def test_patience_watches_training_groups_only(backbone, many_groups, tmp_path, monkeypatch):
    seen = {}

    def spy(model, training, validation, **options):
        seen["groups"] = set(training.groups), set(validation.groups)
        return finetuning.finetune(model, training, validation, **options)

    spy.__kwdefaults__ = finetuning.finetune.__kwdefaults__
    monkeypatch.setattr("utils.networks.finetuned.finetune", spy)
    _, manifest = finetuned_model(backbone, many_groups, folder=tmp_path, patience=3, **OPTIONS)
    training, validation = seen["groups"]
    assert training | validation == set(manifest["trained_on"]) and not training & validation


def test_missing_kernels_make_layers_unsound(tiny_model, backbone, many_groups, tmp_path):
    source, _ = backbone.pretrained()
    deep = tiny_model.network.get_layer("deep")
    deep.set_weights([np.zeros_like(deep.get_weights()[0]), deep.get_weights()[1]])
    tiny_model.network.save_weights(source)
    pretrained = load_model("pretrained", backbone)
    assert pretrained.unsound_layers == ("late",)
    assert pretrained.cam_layer == "early" and tiny_model.cam_layer == "late"
    model, manifest = finetuned_model(backbone, many_groups, folder=tmp_path / "m", **OPTIONS)
    assert model.unsound_layers == ("late",) and manifest["unsound_layers"] == ["late"]
    assert json.loads(finetuned_paths(backbone, tmp_path / "m")[1].read_text()) == manifest


def test_longer_and_shorter_finetunings_lie_beside_the_usual_one(backbone, many_groups, tmp_path):
    backbone = replace(backbone, finetuning={**OPTIONS, "epochs": 2})
    (usual,) = finetuned_models(backbone, many_groups, folder=tmp_path / "models")
    models = finetuned_by_epochs(backbone, [2, 1], many_groups, folder=tmp_path / "models")
    assert list(models) == [1, 2] and models[2].sha256 == usual.model.sha256
    manifest = finetuned_paths(backbone, tmp_path / "models" / "1_epochs", 0, 0)[1]
    values = json.loads(manifest.read_text())
    assert values["options"]["epochs"] == 1 and len(values["epochs"]["loss"]) == 1
    assert models[1].sha256 == values["sha256"] != usual.model.sha256
