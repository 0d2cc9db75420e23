import dataclasses
import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from utils.results import Run
from utils.results.pages import write
from utils.results.record import RECORD, ROOT, WORK, Record, commit, problems, records


@pytest.fixture
def record():
    return Record(
        notebook="x.ipynb",
        backbone="tiny",
        backbone_title="Tiny",
        weights={"pretrained": {"origin": "test", "sha256": ""}},
        data={"origin": "sample", "sha256": "", "patches": 3, "groups": 2},
        verdicts={"C1": "undecided"},
        parameters={"SEED": 0},
        versions={"python": "3.11"},
        code_sha256="0",
        finished="2026-01-01T00:00:00+00:00",
        duration_seconds=1.5,
        files={"a.png": {"sha256": "0", "alt": "a picture"}},
        commit="1234567",
    )


def test_a_record_is_read_as_it_was_written(record, tmp_path):
    record.write(tmp_path)
    assert Record.read(tmp_path) == record
    assert json.loads((tmp_path / RECORD).read_text()) == dataclasses.asdict(record)


def test_older_records_lack_what_came_later(record, tmp_path):
    values = dataclasses.asdict(record)
    del values["commit"], values["steps_kept"]
    (tmp_path / RECORD).write_text(json.dumps(values))
    assert Record.read(tmp_path) == dataclasses.replace(record, commit="", steps_kept=0)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("duration_seconds", "long", "'duration_seconds' is 'long'; expected float"),
        ("verdicts", None, "'verdicts' is None; expected dict"),
        ("data", {"origin": "x"}, "'data' is {'origin': 'x'}; expected it with 'patches' too"),
        ("weights", {"random": {}}, "'weights, random' is {}; expected it with 'origin' too"),
        (
            "files",
            {"a.png": {"alt": "x"}},
            "'a.png' is {'alt': 'x'}; expected it with 'sha256' too",
        ),
    ],
)
def test_what_is_wrong_is_named(record, tmp_path, field, value, words):
    values = {**dataclasses.asdict(record), field: value}
    (tmp_path / RECORD).write_text(json.dumps(values))
    with pytest.raises(ValueError, match="make figures") as caught:
        Record.read(tmp_path)
    assert words in str(caught.value) and str(tmp_path / RECORD) in str(caught.value)


def test_unfinished_runs_are_no_records(record, tmp_path):
    for folder in ("b", "a/deep", f"{WORK}/unfinished"):
        (tmp_path / folder).mkdir(parents=True)
        record.write(tmp_path / folder)
    assert [folder for folder, _ in records(tmp_path)] == [tmp_path / "a/deep", tmp_path / "b"]


def test_commit_is_dirty_by_code_and_not_by_results(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)

    folder = tmp_path / "utils" / "results"
    folder.mkdir(parents=True)
    monkeypatch.setattr("utils.results.record.ROOT", tmp_path)
    assert commit() == ""
    executed = tmp_path / "results" / "x.ipynb"
    executed.parent.mkdir()
    for name in ("utils/code.py", "figure.png", "x.ipynb", "results/x.ipynb"):
        (tmp_path / name).write_text("old")
    git("init")
    git("add", ".")
    git("-c", "user.name=me", "-c", "user.email=me@here.example", "commit", "-m", "first")
    head = commit()
    assert len(head) == 7
    (tmp_path / "figure.png").write_text("new")
    executed.write_text("new")  # is a result
    assert commit() == head
    for name in ("utils/code.py", "x.ipynb"):
        (tmp_path / name).write_text("new")
        assert commit() == f"{head}-dirty"
        (tmp_path / name).write_text("old")


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
