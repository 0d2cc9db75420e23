import shutil

import cv2
import numpy as np
import pytest

from utils.results import Run
from utils.results.pages import write
from utils.results.record import ROOT, records
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
    found = dict(line.split(": ", 1) for line in problems(results))
    assert found.keys() == {str(folder / "a.png"), str(folder / "b.png")}
    assert "not the file" in found[str(folder / "a.png")]
    assert "not produced by any run" in found[str(folder / "b.png")]
    (folder / "a.png").write_bytes(b"no picture")
    assert any("not the file" in line for line in problems(results))
    (folder / "a.png").unlink()
    assert any("a.png: missing" in line for line in problems(results))


def test_nothing_to_check(tmp_path):
    with pytest.raises(ValueError, match="make figures"):
        problems(tmp_path)


def test_the_committed_results_are_those_recorded_and_their_readme_says_of_which_commit():
    root = ROOT / "interpretability_results"
    assert problems(root) == []
    commits = {record.commit for _, record in records(root)}
    first = (root / "README.md").read_text().splitlines()[0]
    assert commits and all(commit and commit in first for commit in commits)
