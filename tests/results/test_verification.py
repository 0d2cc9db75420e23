import json
import shutil

import cv2
import numpy as np
import pytest

from utils.results import Run
from utils.results.execution import ROOT
from utils.results.pages import write
from utils.results.verification import problems


@pytest.fixture
def results(tmp_path, tiny_model, colored_patches):
    root = tmp_path / "results"
    run = Run("gradcam_plus.ipynb", root, {"SEED": 0})
    run.uses({"finetuned": tiny_model}, colored_patches)
    run.results("gradcam", "tiny").image(np.zeros((4, 4, 3), np.uint8), "a.png", "a picture")
    run.finish()
    write(root)
    (root / "notebooks" / "tiny").mkdir(parents=True)
    shutil.copy(ROOT / "gradcam_plus.ipynb", root / "notebooks" / "tiny")
    write(root)  # with a link to the notebook
    return root


def test_what_a_run_has_made_is_right(results):
    assert problems(results) == []


def test_every_change_is_found(results):
    folder = results / "gradcam" / "tiny"
    assert cv2.imwrite(str(folder / "a.png"), np.full((4, 4, 3), 9, np.uint8))
    (folder / "b.png").write_bytes(b"more")
    page = results / "README.md"
    page.write_text(page.read_text() + "C2 is supported.")
    path = results / "notebooks" / "tiny" / "gradcam_plus.ipynb"
    notebook = json.loads(path.read_text())
    notebook["cells"][-1]["source"] = ["another text"]
    path.write_text(json.dumps(notebook))
    found = dict(line.split(": ", 1) for line in problems(results))
    assert found.keys() == {str(folder / "a.png"), str(folder / "b.png"), str(page), str(path)}
    assert "not the file" in found[str(folder / "a.png")]
    assert "of no run" in found[str(folder / "b.png")]
    assert "make gallery" in found[str(page)] and "another version" in found[str(path)]
    (folder / "a.png").write_bytes(b"no picture")
    assert any("not the file" in line for line in problems(results))
    (folder / "a.png").unlink()
    assert any("a.png: missing" in line for line in problems(results))


def test_nothing_to_check(tmp_path):
    with pytest.raises(ValueError, match="make figures"):
        problems(tmp_path)
