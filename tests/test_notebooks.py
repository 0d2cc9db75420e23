import json
from pathlib import Path

import papermill
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs(notebook):
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1


def _run(name, tmp_path, backbone, **parameters):
    results = tmp_path / "results"
    papermill.execute_notebook(
        ROOT / f"{name}.ipynb",
        tmp_path / "executed.ipynb",
        parameters={"BACKBONE": backbone, "RESULTS": str(results), **parameters},
        cwd=ROOT,
        progress_bar=False,
        kernel_name="python3",
    )
    return {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}


def test_visualize_channels(tmp_path, real_backbone, checkpoint):
    layers = ["mixed5b", "mixed6a"] if real_backbone == "inceptionv3" else ["dense1", "dense2"]
    files = _run(
        *("visualize_channels_CNN", tmp_path, real_backbone),
        **{"FINETUNED": str(checkpoint), "CHANNELS": 2, "SIZE": 80, "STEPS": 3, "LAYERS": layers},
    )
    names = ("overview.jpg", "complexity.png", "channels.csv", "complexity.csv")
    assert {f"{real_backbone}/{name}" for name in names} <= files
    for folder in (real_backbone, f"{real_backbone}_finetuned"):
        assert {f"{folder}/{layer}.jpg" for layer in layers} <= files
        assert sum(f.startswith(f"{folder}/") and "/channel_" in f for f in files) == 4


def test_lucid(tmp_path, real_backbone, checkpoint):
    layer = "mixed5b" if real_backbone == "inceptionv3" else "dense1"
    files = _run(
        *("lucid_iv3", tmp_path, real_backbone),
        **{"FINETUNED": str(checkpoint), "CHANNELS": 2, "SIZE": 80, "STEPS": 3, "LAYERS": [layer]},
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
            assert len(overlays) >= 2 and all(Path(f).suffix == ".jpg" for f in overlays)
            assert any(f.startswith(f"{method}/{real_backbone}/{name}_") for f in files)
    names = ("localization", "insertion_deletion", "randomisation", "stability")
    for name in names:
        assert {f"gradcam/{real_backbone}/{name}{end}" for end in (".png", ".csv")} <= files


def test_rcvs(tmp_path, real_backbone, checkpoint):
    ends = ["mixed5b", "mixed7c"] if real_backbone == "inceptionv3" else ["dense1", "dense4"]
    files = _run(
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
    assert files == {f"rcvs/{real_backbone}/{name}" for name in names}
    assert len(list((tmp_path / "cache").iterdir())) == 4  # two random networks, two with a head
