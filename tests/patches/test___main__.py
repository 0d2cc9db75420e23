import numpy as np
from PIL import Image


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
