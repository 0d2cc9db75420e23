import numpy as np
import pytest

from utils.networks import (
    augment,
    evaluate,
    finetune,
    finetuned_model,
    finetuned_paths,
    held_out_patches,
    load_model,
)


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
    with pytest.raises(ValueError, match=r"\[32, 0\]"):
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
