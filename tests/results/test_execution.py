import nbformat
import pytest

from utils.results.execution import NotebookFailed, execute


def _notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_failed_notebook_keeps_the_old_copy(tmp_path):
    executed = tmp_path / "out" / "x.ipynb"
    execute(_notebook(tmp_path / "x.ipynb", "1 + 1"), executed)
    before = executed.read_bytes()
    broken = _notebook(tmp_path / "x.ipynb", "2 + 2", 'raise ValueError("say this")')
    with pytest.raises(NotebookFailed, match="ValueError: say this"):
        execute(broken, executed)
    assert executed.read_bytes() == before
    (kept,) = (executed.parent / ".work").glob("failed-*")
    assert "say this" in kept.read_text()
    assert sorted(path.name for path in executed.parent.iterdir()) == [".work", "x.ipynb"]


def test_progress_is_shown_and_only_its_end_is_kept(tmp_path, capsys):
    loop = """import sys, time
from utils.progress import progress_bar
for _ in progress_bar(range(5), desc="count", unit="thing"):
    time.sleep(0.6)"""
    with open(tmp_path / "terminal", "w") as terminal:
        source = _notebook(tmp_path / "x.ipynb", loop)
        execute(source, tmp_path / "done.ipynb", progress=terminal)
    shown = (tmp_path / "terminal").read_text()
    assert "count:  40%" in shown and "count: 100%" in shown and "<" in shown
    (output,) = nbformat.read(tmp_path / "done.ipynb", 4).cells[0].outputs
    assert output.text.startswith("count: 100%") and output.text.count("%") == 1
