import re

import nbformat
import pytest

from utils.results.execution import execute, execute_all
from utils.results.record import Record


def _notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_failed_notebook_keeps_the_old_copy(tmp_path):
    executed = tmp_path / "out" / "x.ipynb"
    executed.parent.mkdir()
    executed.write_text("the old copy")
    below = "import os; os.write(2, b'said below Python')"
    broken = _notebook(tmp_path / "x.ipynb", below, 'raise ValueError("say this")')
    with pytest.raises(RuntimeError, match="cell 2 of x.ipynb: ValueError: say this"):
        execute(broken, executed)
    assert executed.read_text() == "the old copy"
    work = executed.parent / ".work"
    assert sorted(path.name for path in work.iterdir()) == ["failed-x.ipynb", "kernels.log"]
    assert "say this" in (work / "failed-x.ipynb").read_text()
    assert "said below Python" in (work / "kernels.log").read_text()
    assert sorted(path.name for path in executed.parent.iterdir()) == [".work", "x.ipynb"]


def test_progress_is_shown_and_no_path_is_kept(tmp_path):
    loop = """import os, time, warnings
from utils.progress import progress_bar
for _ in progress_bar(range(3), desc="count", unit="thing"):
    time.sleep(0.6)
    print("line")
warnings.warn(f"{os.getcwd()}/utils")
print(LEVEL)"""
    shown = []
    source = _notebook(tmp_path / "x.ipynb", loop)
    execute(source, tmp_path / "done.ipynb", {"LEVEL": 7}, show=shown.append)
    assert any(re.match("count: +(33|67)%", line) for line in shown)
    assert shown[-1].startswith("count: 100%")
    text = (tmp_path / "done.ipynb").read_text()
    assert not re.findall(r"[^\w.:/<]/\w[\w.-]*/[\w./-]+", text)
    outputs = {output.output_type: output for output in nbformat.reads(text, 4).cells[1].outputs}
    assert outputs["display_data"].data["text/plain"].startswith("count: 100%")


def test_execution_ends_with_the_verdicts(tmp_path, capsys):
    """One line per claim, of which a verdict with more lines gives the one that names it."""
    verdicts = {"C2": "rival: 0.5\nC2: undecided on one nest.", "other": "not a claim"}
    common = {"notebook": "x.ipynb", "backbone_title": "Tiny", "weights": {}, "parameters": {}}
    common |= {"data": {"origin": "", "patches": 1, "groups": 1}, "versions": {}, "files": {}}
    common |= {"code_sha256": "", "finished": "", "duration_seconds": 1.0}
    failed = {"C1": "Not testable: the network is hardly finetuned.\nfold 0: grey 0.4"}
    for folder, backbone, said in (
        ("one", "tiny", verdicts),
        ("two", "tiny", verdicts),  # the same run wrote two folders
        ("three", "tiny", failed),
        ("four", "other", {"C3": "C3: supported"}),
    ):
        (tmp_path / folder).mkdir()
        Record(backbone=backbone, verdicts=said, **common).write(tmp_path / folder)
    execute_all([], "tiny", tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "C1: Not testable: the network is hardly finetuned.",
        "C2: undecided on one nest.",
    ]
