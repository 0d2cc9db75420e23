import nbformat
import papermill

from utils.progress import progress_bar

LOOP = """import time
from utils.progress import progress_bar
with progress_bar(total=4, desc="count", unit="thing") as bar:
    for number in range(4):
        time.sleep(0.4)
        print(number)
        bar.set_postfix_str(f"number {number}")
        bar.update()
        for _ in progress_bar(range(3), desc="quick"):
            pass
for _ in progress_bar(range(3), desc="quiet", disable=True):
    time.sleep(0.5)
for _ in progress_bar(range(3), desc="gone", leave=False):
    time.sleep(0.5)"""


def test_papermill_keeps_one_output_with_the_last_state(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LOOP)])
    nbformat.write(notebook, tmp_path / "x.ipynb")
    papermill.execute_notebook(
        tmp_path / "x.ipynb", tmp_path / "done.ipynb", kernel_name="python3", progress_bar=False
    )
    (cell,) = nbformat.read(tmp_path / "done.ipynb", 4).cells
    bars = [output for output in cell.outputs if output.output_type == "display_data"]
    text = bars[0].data["text/plain"]
    assert len(bars) == 2 and text.startswith("count: 100%") and "number 3" in text
    assert "4/4" in text and "\r" not in text
    assert bars[1].data["text/plain"] == ""
    printed = [output.text for output in cell.outputs if output.output_type == "stream"]
    assert "".join(printed) == "0\n1\n2\n3\n"


def test_a_terminal_gets_text_on_stderr(capsys):
    for _ in progress_bar(range(3), desc="count", delay=0):
        pass
    assert "\rcount: 100%" in capsys.readouterr().err
