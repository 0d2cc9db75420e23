"""Execution of the notebooks: copies that are complete and have no path of this machine."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from utils.files import whole_file
from utils.results.record import RECORD, ROOT, VERDICT_TABLES, WORK, records

STUDY = 9  # finetuned networks of a study
NOTEBOOKS = ("visualize_channels_CNN", "lucid_iv3", "gradcam_plus", "RCVs_analysis")


class _Client(NotebookClient):
    """Runs the cells of a notebook, and shows the states of progress bars."""

    show: Callable[[str], None]

    def process_message(self, msg, cell, cell_index):
        if (msg["content"].get("transient") or {}).get("display_id"):
            self.show(msg["content"]["data"].get("text/plain", ""))
        return super().process_message(msg, cell, cell_index)


def execute(
    notebook: Path,
    executed: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    show: Callable[[str], None] = lambda state: None,
) -> None:
    """Execute a notebook; its copy `executed`, with outputs, appears only when all cells have run.

    The parameters replace those of the cell tagged ``parameters``; `show` is called with every
    state of a progress bar. What the kernel itself writes, such as TensorFlow, goes to a log.
    """
    nodes = load_notebook_node(str(notebook))
    if parameters:
        kernel = {"kernel_name": "python3", "language": "python"}
        nodes = parameterize_notebook(nodes, dict(parameters), **kernel)
    del nodes.metadata["papermill"]
    client = _Client(nodes, kernel_name="python3", timeout=None, coalesce_streams=True)
    client.show = show
    work = executed.parent / WORK
    work.mkdir(parents=True, exist_ok=True)
    try:
        with open(work / "kernels.log", "a") as log:
            client.execute(stderr=log)
    except (CellExecutionError, DeadKernelError) as error:
        incomplete = work / f"failed-{executed.name}"
        _write(nodes, incomplete)
        number = max(cell.get("execution_count") or 0 for cell in nodes.cells)
        reason = str(error)
        if isinstance(error, CellExecutionError):
            reason = f"{error.ename}: {error.evalue.strip()}".split("\n\n")[0][:1000]
        raise RuntimeError(
            f"cell {number} of {notebook.name}: {reason}\nThe notebook up to there: {incomplete}"
        ) from error
    _write(nodes, executed)


def _write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook, with paths of this machine, such as those in warnings, made relative."""
    for cell in notebook.cells:
        if "outputs" in cell:  # without bars that their ends have removed
            cell.outputs = [x for x in cell.outputs if x.get("data") != {"text/plain": ""}]
    text = nbformat.writes(notebook)
    for folder in (ROOT, sys.prefix, sys.base_prefix, Path.home(), tempfile.gettempdir()):
        text = text.replace(json.dumps(f"{folder}/")[1:-1], "")
    with whole_file(path) as scratch:
        scratch.write_text(text + "\n", encoding="utf-8")


def print_estimate(results: Path, backbone: str, finetunings: str) -> None:
    """Print how long the notebooks take, at most, by their last runs on this backbone."""
    seconds = {}
    for _, record in records(results) if any(results.rglob(RECORD)) else ():
        if record.backbone == backbone:
            count = STUDY if finetunings == "study" else 1
            scale = max(1, count / max(1, record.finetunings))
            seconds[record.notebook] = record.duration_seconds * scale
    if finetunings == "study" and seconds:
        minutes = sum(seconds.values()) / 60
        print(f"By their last runs, the notebooks take up to {minutes:.0f} minutes.")


def execute_all(
    notebooks: Sequence[str],
    backbone: str,
    results: Path,
    *,
    finetunings: str = "one",
    replication: str = "",
    force: bool = False,
) -> None:
    """Execute notebooks, printing one line per notebook, then the results' location.

    A second set of patches is for the notebook of RCVs alone.
    """
    begun = time.monotonic()
    print_estimate(results, backbone, finetunings)
    folder = results / "notebooks" / backbone
    parameters = {"BACKBONE": backbone, "RESULTS": os.path.relpath(results)}
    parameters["FINETUNINGS"] = finetunings
    parameters |= {"FORCE": True} if force else {}
    for file in [f"{name}.ipynb" for name in notebooks]:
        label, started = f"{file}, {backbone}:", time.monotonic()

        def show(text: str, label=label) -> None:
            if sys.stdout.isatty():
                line = f"{label} {text}"[: shutil.get_terminal_size().columns - 1]
                print(f"\r\x1b[K{line}", end="", flush=True)

        print(label, end=" ", flush=True)
        try:
            wanted = replication and file == "RCVs_analysis.ipynb"
            second = {"REPLICATION": replication} if wanted else {}
            execute(ROOT / file, folder / file, parameters | second, show=show)
        except (RuntimeError, OSError) as error:
            print(f"failed after {time.monotonic() - started:.0f} s", flush=True)
            sys.exit(str(error))
        show("")
        print(f"{time.monotonic() - started:.0f} s", flush=True)
    print(f"All notebooks: {time.monotonic() - begun:.0f} s. Results:")
    made = [(path, record) for path, record in records(results) if record.backbone == backbone]
    for path, record in made:
        print(f"  {path}: {len(record.files)} files")
    for claim in VERDICT_TABLES:
        sentences = {record.sentence(claim) for _, record in made if claim in record.verdicts}
        for sentence in sorted(sentences):
            print(sentence if claim in sentence else f"{claim}: {sentence}")
