import json
from pathlib import Path

import cv2
import pandas as pd
import pytest

from utils.results.execution import execute

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs(notebook):
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1


def _run(name, tmp_path, backbone, results="results", **parameters):
    """Execute a notebook and read what it writes, but the records, whose times differ."""
    results = tmp_path / results
    parameters = {"BACKBONE": backbone, "RESULTS": str(results), **parameters}
    execute(ROOT / f"{name}.ipynb", tmp_path / "executed.ipynb", parameters)
    return {
        path.relative_to(results).as_posix(): path.read_bytes()
        for path in results.rglob("*")
        if path.is_file() and ".work" not in path.parts and path.name != "run.json"
    }


@pytest.fixture
def few(tmp_path, sample):
    """A folder of a few patches, so that a notebook can be run twice."""
    for label, name in enumerate(sample.class_names):
        chosen = sample.select(sample.labels == label)
        chosen = chosen.select(chosen.sample_indices(10, seed=0))
        for i, (image, group) in enumerate(zip(chosen.images, chosen.groups, strict=True)):
            # Groups that no network was trained on, as the network's manifest would say.
            path = tmp_path / "few" / name / f"other {group}".replace("/", "-") / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), image[..., ::-1])
    return str(tmp_path / "few")


def _twice(name, tmp_path, backbone, **parameters):
    first = _run(name, tmp_path, backbone, **parameters)
    second = _run(name, tmp_path, backbone, "again", **parameters)
    assert first and first.keys() == second.keys()
    assert not [file for file in first if first[file] != second[file]]
    return set(first)


def test_visualize_channels(tmp_path, real_backbone, checkpoint, few):
    layers = ["mixed5b", "mixed6a"] if real_backbone == "inceptionv3" else ["dense1", "dense2"]
    files = _twice(
        *("visualize_channels_CNN", tmp_path, real_backbone),
        **{"FINETUNED": str(checkpoint), "CHANNELS": 2, "SIZE": 80, "STEPS": 3, "LAYERS": layers},
        **{"PATCHES": few},
    )
    names = ("overview.jpg", "complexity.png", "channels.csv", "complexity.csv")
    assert {f"{real_backbone}/{name}" for name in names} <= files
    for folder in (real_backbone, f"{real_backbone}_finetuned"):
        assert {f"{folder}/{layer}.jpg" for layer in layers} <= files
        assert sum(f.startswith(f"{folder}/") and f.endswith("_patches.jpg") for f in files) == 4
        assert sum(f.startswith(f"{folder}/") and "/channel_" in f for f in files) == 8


def test_lucid(tmp_path, real_backbone, checkpoint, few):
    layer = "mixed5b" if real_backbone == "inceptionv3" else "dense1"
    files = _twice(
        *("lucid_iv3", tmp_path, real_backbone),
        **{"FINETUNED": str(checkpoint), "CHANNELS": 2, "SIZE": 80, "STEPS": 3, "LAYERS": [layer]},
        **{"PATCHES": few},
    )
    names = {"channels.csv", "lucid_and_optvis.csv", "lucid_and_optvis.jpg", "objectives.jpg"}
    names |= {"overview.jpg", f"{layer}.jpg"}
    assert {f"lucid_{real_backbone}/{name}" for name in names} <= files and len(files) == 8


def test_gradcam(tmp_path, real_backbone, checkpoint):
    files = _run(
        *("gradcam_plus", tmp_path, real_backbone),
        **{"FINETUNED": str(checkpoint), "PATCH_SIZE": 150, "PER_CLASS": 2, "MEASURED": 4},
        **{"CHECKED": 3, "COLORMAP": "cividis"},
    )
    for method in ("gradcam", "gradcamplus"):
        for name in ("tumor", "normal"):
            overlays = [f for f in files if f.startswith(f"{method}/{real_backbone}/{name}/")]
            assert len(overlays) >= 4 and all(Path(f).suffix == ".jpg" for f in overlays)
            assert sum(f.endswith("_patch.jpg") for f in overlays) == len(overlays) / 2
            assert any(f.startswith(f"{method}/{real_backbone}/{name}_") for f in files)
    names = ("localization", "insertion_deletion", "randomisation", "stability")
    for name in names:
        ends = (".png", ".csv")
        assert {f"gradcam/{real_backbone}/{name}{end}" for end in ends} <= set(files)


def test_gradcam_twice(tmp_path, real_backbone, checkpoint, few):
    files = _twice(
        *("gradcam_plus", tmp_path, real_backbone),
        **{"FINETUNED": str(checkpoint), "PATCHES": few, "PER_CLASS": 2, "CHECKED": 3},
    )
    # Both outcomes of a class are shown where a network that has hardly learned gets some wrong.
    table = pd.read_csv(tmp_path / "results" / "gradcam" / real_backbone / "patches.csv")
    for (name, outcome), part in table.groupby(["class", "prediction"]):
        says_tumor = part["probability_tumor"] >= 0.5
        assert (says_tumor == ((name == "tumor") == (outcome == "correct"))).all()
        assert set(f"gradcam/{real_backbone}/" + part["file"]) <= files
    shown = table.groupby("class").size()
    assert (shown >= 2).all()


def test_rcvs(tmp_path, real_backbone, checkpoint):
    ends = ["mixed5b", "mixed7c"] if real_backbone == "inceptionv3" else ["dense1", "dense4"]
    files = _twice(
        *("RCVs_analysis", tmp_path, real_backbone),
        **{"FINETUNED": str(checkpoint), "PER_CLASS": 60, "FOLDS": 3, "SHUFFLES": 2, "REPEATS": 1},
        **{
            "RANDOM_SEEDS": 2,
            "LAYERS": ends,
            "MOST_CONSTANT": 1.0,
            "CACHE": str(tmp_path / "cache"),
            "SEED": 1,
        },
    )
    names = {"texture_r2_in_sample.csv", "texture_r2_held_out.csv", "nuclei_r2_held_out.csv"}
    names |= {"nuclei_relevance.png", "nuclei_relevance.csv", "nuclei_r2_in_sample.csv"}
    names |= {"cka.csv", "weight_change.csv", "reuse.png", "texture_r2.png", "nuclei_r2.png"}
    for stem in ("texture_measures", "nuclei_measures", "learning_curves", "relevance"):
        names |= {f"{stem}.png", f"{stem}.csv"}
    assert set(files) == {f"rcvs/{real_backbone}/{name}" for name in names}
    assert len(list((tmp_path / "cache").iterdir())) == 4  # two random networks, two with a head
