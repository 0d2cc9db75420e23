import numpy as np
from PIL import Image

from utils.patches import load_patches


def test_nuclei_of_the_sample_are_compared(call_module):
    code, output, _ = call_module("utils.patches", "nuclei")
    table = output.splitlines()
    assert code == 0
    assert table[1].split() == ["source", "patches", "detected", "annotated", "f1", "dice"]
    assert table[-1].split()[0] == "all" and len(table) == 5


def test_nuclei_without_annotation_are_counted(call_module, tmp_path):
    generator = np.random.default_rng(0)
    for name in ("normal", "tumor"):
        (tmp_path / name / "a").mkdir(parents=True)
        pixels = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "a" / "patch.png")
    code, output, _ = call_module("utils.patches", "nuclei", "--patches", tmp_path)
    assert code == 0 and "nuclei found" in output
    code, _, errors = call_module("utils.patches", "nuclei", "--patches", tmp_path / "none")
    assert code == 1 and "none" in errors and "Traceback" not in errors


def test_slides_are_cut_into_a_file(slides, tmp_path, call_module):
    out = tmp_path / "patches.h5"
    arguments = ["slides", slides, "--out", out, "--size", "150", "--per-class", "6"]
    code, output, _ = call_module("utils.patches", *arguments)
    assert code == 0 and "6 normal, 6 tumor; 150 x 150 pixels of 0.5 µm; 8 groups" in output
    patches = load_patches(out)
    assert len(patches) == 12 and patches.microns_per_pixel == 0.5
    drawn = sorted(path.name for path in (tmp_path / "patches_slides").iterdir())
    assert drawn == ["patient_001_node_0.jpg", "patient_002_node_1.jpg"]
    code, _, errors = call_module("utils.patches", *arguments, "--slide-microns", "0.01")
    assert code == 1 and "expected 0.05 to 20" in errors
