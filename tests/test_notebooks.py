import json
import re
from pathlib import Path

import cv2
import pandas as pd
import pytest

from utils.results.execution import execute

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("*.ipynb"))
LAYERS = {"inceptionv3": ["mixed5b", "mixed6a"], "densenet121": ["dense1", "dense2"]}
ENDS = {"inceptionv3": ["mixed5b", "mixed7c"], "densenet121": ["dense1", "dense4"]}


def _code_cells(notebook: Path) -> list[dict]:
    cells = json.loads(notebook.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs(notebook):
    cells = _code_cells(notebook)
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_short(notebook):
    assert max(len("".join(cell["source"]).splitlines()) for cell in _code_cells(notebook)) <= 20


def test_executed_copies_hold_no_path_of_a_machine():
    copies = sorted((ROOT / "interpretability_results" / "notebooks").rglob("*.ipynb"))
    assert copies
    path = re.compile(r'"(input|output)_path"|"/(home|root|tmp|work|Users)/')
    assert not [copy for copy in copies if path.search(copy.read_text())]


def _run(name, results, backbone, checkpoint, **parameters):
    """Execute a notebook and read what it writes, but the records, whose times differ."""
    parameters |= {"BACKBONE": backbone, "FINETUNINGS": [str(checkpoint)], "RESULTS": str(results)}
    execute(ROOT / f"{name}.ipynb", results / "executed.ipynb", parameters)
    return {
        path.relative_to(results).as_posix(): path.read_bytes()
        for path in results.rglob("*")
        if path.is_file()
        and ".work" not in path.parts
        and path.name not in ("run.json", "executed.ipynb")
    }


def _twice(name, folder, *args, **parameters):
    first = _run(name, folder / "first", *args, **parameters)
    second = _run(name, folder / "second", *args, **parameters)
    assert first and first.keys() == second.keys()
    assert not [file for file in first if first[file] != second[file]]
    return set(first)


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


def test_visualize_channels(tmp_path, real_backbone, checkpoint, few):
    layers = LAYERS[real_backbone]
    options = {"CHANNELS": 2, "SIZE": 80, "STEPS": 3, "LAYERS": layers, "PATCHES": few}
    options |= {"RELEVANT": 2}
    files = _twice("visualize_channels_CNN", tmp_path, real_backbone, checkpoint, **options)
    names = ("overview.jpg", "complexity.png", "channels.csv", "complexity.csv", "survival.png")
    names += ("path.png", "priors.jpg", "priors.csv", "priors_channels.csv", "exemplars.jpg")
    names += ("accentuation.jpg",)
    assert {f"{real_backbone}/{name}" for name in names} <= files
    for folder in (real_backbone, f"{real_backbone}_finetuned"):
        assert {f"{folder}/{layer}.jpg" for layer in layers} <= files
        assert sum(f.startswith(f"{folder}/") and f.endswith("_patches.jpg") for f in files) == 4
        assert sum(f.startswith(f"{folder}/") and "/channel_" in f for f in files) == 8


def test_lucid(tmp_path, real_backbone, checkpoint, few):
    layer = LAYERS[real_backbone][0]
    options = {"CHANNELS": 2, "SIZE": 80, "STEPS": 3, "LAYERS": [layer], "PATCHES": few}
    files = _twice("lucid_iv3", tmp_path, real_backbone, checkpoint, **options)
    names = {"channels.csv", "lucid_and_optvis.csv", "lucid_and_optvis.jpg", "objectives.jpg"}
    names |= {"overview.jpg", f"{layer}.jpg"}
    assert {f"lucid_{real_backbone}/{name}" for name in names} <= files and len(files) == 8


def test_gradcam(tmp_path, real_backbone, checkpoint):
    options = {"PATCH_SIZE": 150, "PER_CLASS": 2, "CHECKED": 3}
    files = _run("gradcam_plus", tmp_path, real_backbone, checkpoint, COLORMAP="cividis", **options)
    for method in ("gradcam", "gradcamplus"):
        for name in ("tumor", "normal"):
            overlays = [f for f in files if f.startswith(f"{method}/{real_backbone}/{name}/")]
            assert len(overlays) >= 4 and all(Path(f).suffix == ".jpg" for f in overlays)
            assert sum(f.endswith("_patch.jpg") for f in overlays) == len(overlays) / 2
            assert any(f.startswith(f"{method}/{real_backbone}/{name}_") for f in files)
    named = ("finetuning", "localization", "insertion_deletion", "randomisation", "stability")
    for name in named:
        ends = (".png", ".csv")
        assert {f"gradcam/{real_backbone}/{name}{end}" for end in ends} <= set(files)


def test_gradcam_twice(tmp_path, real_backbone, checkpoint, few):
    options = {"PATCHES": few, "PER_CLASS": 2, "CHECKED": 3}
    files = _twice("gradcam_plus", tmp_path, real_backbone, checkpoint, **options)
    # Both outcomes of a class are shown where a network that has hardly learned gets some wrong.
    table = pd.read_csv(tmp_path / "first" / "gradcam" / real_backbone / "patches.csv")
    for (name, outcome), rows in table.groupby(["class", "prediction"]):
        says_tumor = rows["probability_tumor"] >= 0.5
        assert (says_tumor == ((name == "tumor") == (outcome == "correct"))).all()
        assert set(f"gradcam/{real_backbone}/" + rows["file"]) <= files
    assert (table.groupby("class").size() >= 2).all()


def test_rcvs(tmp_path, real_backbone, checkpoint):
    options = {"PER_CLASS": 40, "FOLDS": 3, "PERMUTATIONS": 2, "REPEATS": 1, "RANDOM_SEEDS": 2}
    options |= {"LAYERS": ENDS[real_backbone], "SEED": 1, "TRANSPLANTED": 4, "STEPS": 3}
    files = _twice("RCVs_analysis", tmp_path, real_backbone, checkpoint, **options)
    names = {"cka.csv", "transplants.csv", "reuse.png", "tumor_by_layer.png", "tumor_by_layer.csv"}
    names |= {"learning_curves.png", "learning_curves.csv", "c3.csv", "feature_changes.csv"}
    names |= {"entanglement.png", "partial_r2.csv", "concept_angles.csv"}
    names |= {"interventions.png", "interventions.csv"}
    names |= {"discovered.jpg", "discovered.csv", "atlas.jpg"}
    for concepts in ("texture", "nuclei", "stain"):
        names |= {f"{concepts}_measures.png", f"{concepts}_measures.csv", f"{concepts}_r2.png"}
        names |= {f"{concepts}_r2_in_sample.csv", f"{concepts}_r2_held_out.csv"}
        names |= {f"{concepts}_relevance.png", f"{concepts}_relevance.csv"}
        names |= {f"{concepts}_effects.png", f"{concepts}_r2_baselines.csv"}
    assert set(files) == {f"rcvs/{real_backbone}/{name}" for name in names}
