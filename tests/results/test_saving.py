from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd

from utils.networks import Finetuning
from utils.results import Results, Run, figures, save_channels, save_overlays, show_finetunings

RANDOM = np.random.default_rng(0)
CHANNELS = {"a": [3, 7], "b": [1]}
RENDERED = {
    network: {layer: RANDOM.random((len(n), 8, 8, 3)) for layer, n in CHANNELS.items()}
    for network in ("pretrained", "finetuned")
}


def test_channels_are_saved_with_their_patches_and_a_page_per_layer(tmp_path):
    exciting = {
        layer: list(RANDOM.integers(0, 256, (len(n), 9, 16, 16, 3), dtype=np.uint8))
        for layer, n in CHANNELS.items()
    }
    results, options = Results(tmp_path), {"network": "finetuned", "title": "finetuned Tiny"}
    pages = save_channels(results, RENDERED, CHANNELS, exciting=exciting, **options)
    channels = {f"{layer}/channel_{n:04d}" for layer, numbers in CHANNELS.items() for n in numbers}
    expected = {f"{layer}.jpg" for layer in CHANNELS} | {f"{file}.png" for file in channels}
    assert results.files.keys() == expected | {f"{file}_patches.jpg" for file in channels}
    assert list(pages) == ["a", "b"]
    about = results.files["a/channel_0007.png"]
    assert (about["channel"], about["layer"], about["network"]) == (7, "a", "finetuned")
    assert about["alt"] == "finetuned Tiny, a: image that maximises channel 7"
    picture = cv2.imread(str(tmp_path / "a/channel_0007.png"))[..., ::-1]
    np.testing.assert_array_equal(picture, np.round(255 * RENDERED["finetuned"]["a"][1]))
    companion = results.files["a/channel_0007_patches.jpg"]
    assert (companion["of"], companion["role"]) == ("a/channel_0007.png", "patches")


def test_without_patches_pages_show_all_networks(tmp_path):
    results = Results(tmp_path)
    pages = save_channels(
        results, RENDERED, CHANNELS, network="pretrained", title="t", maker="M's "
    )
    titles = [axes.get_title() for axes in pages["a"].axes]
    assert titles == ["pretrained 3", "pretrained 7", "finetuned 3", "finetuned 7"]
    assert results.files["b.jpg"]["network"] == ["pretrained", "finetuned"]
    assert results.files["b/channel_0001.png"]["alt"].endswith("M's image that maximises channel 1")
    assert len(results.files) == 5


def test_overlays_have_cards_patches_and_a_table(tmp_path, colored_patches):
    def group(name, outcome, index):
        patches = colored_patches.select(np.array(index))
        maps = {m: RANDOM.random((len(index), 16, 16)) for m in ("gradcam", "gradcam++")}
        probability = np.linspace(0.2, 0.9, len(index), dtype=np.float32)
        keys = {"class_name": name, "outcome": outcome, "index": np.array(index)}
        return SimpleNamespace(**keys, patches=patches, probability=probability, maps=maps)

    groups = [group("normal", "correct", [1, 5]), group("tumor", "wrong", [40])]
    results = {"gradcam": Results(tmp_path, "one"), "gradcam++": Results(tmp_path, "two")}
    panels = save_overlays(results, groups, layer="late", title="Tiny", status="held out")
    assert "wrong predictions, held out" in panels[1].get_suptitle()
    for method, of_method in results.items():
        table = pd.read_csv(of_method.folder / "patches.csv")
        assert set(table["method"]) == {method} and set(table["file"]) <= of_method.files.keys()
        assert table["class"].tolist() == ["normal", "normal", "tumor"]
        np.testing.assert_allclose(table["probability_tumor"], [0.2, 0.9, 0.2], rtol=1e-5)
        assert len(of_method.files) == 2 + 3 * 2 + 1
        card = of_method.files[table["file"][2]]
        assert card["method"] == figures.title_of(method) and card["prediction"] == "wrong"
        assert tuple(card["inset"]) == figures.CARD_INSET


def test_finetunings_are_shown_by_their_manifests(tmp_path, tiny_model):
    numbers = {"patches": 10, "balanced_accuracy": 0.9, "auc": 0.95, "accuracy": 0.8}
    scores = {"in_tumor_images": numbers, "by_group": {"a": numbers, "b": numbers}}
    manifest = {
        "options": {"fold": 0, "seed": 1},
        "metrics": scores,
        "baselines": {"colours": scores},
        "epochs": {"epoch": [0, 1], "loss": [0.5, 0.1], "val_loss": [0.6, 0.4]},
        "calibration": {"predicted": [0.1, 0.8], "observed": [0.2, 1.0], "patches": [5, 5]},
    }
    run = Run("x.ipynb", tmp_path, {})
    run.backbone, run.main = tiny_model.backbone, run.results("gradcam")
    run.show = run.main.show
    gates = pd.DataFrame(
        {"finetuning": ["fold 0, seed 1"], "condition": ["grey"], "passed": [True]}
    )
    known = [Finetuning(tiny_model, manifest)] * 2
    show_finetunings(run, known, gates)
    assert run.main.files.keys() == {
        "finetuning.png",
        "finetuning.csv",
        "finetuning_by_group.csv",
        "gate.csv",
    }
    table = pd.read_csv(run.main.folder / "finetuning.csv")
    assert table["classifier"].tolist() == ["finetuned", "colours"] * 2
    assert (table["balanced_accuracy"] == 0.9).all()
    by_group = pd.read_csv(run.main.folder / "finetuning_by_group.csv")
    assert by_group["group"].tolist() == ["a", "b"] * 4 and (by_group["accuracy"] == 0.8).all()
    run.main.files.clear()
    show_finetunings(run, [Finetuning(tiny_model, {})], gates)
    assert run.main.files.keys() == {"gate.csv"}
