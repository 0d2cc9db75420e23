"""Execute the notebooks with papermill, printing one line per notebook.

An executed copy appears only when it is complete.
"""

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import nbformat
import papermill

from utils.files import disk_space, is_abandoned, scratch_prefix
from utils.results.record import WORK, records

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = ("visualize_channels_CNN", "lucid_iv3", "gradcam_plus", "RCVs_analysis")


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error; the message has it, and where the executed part is."""


def execute(
    notebook: str | Path,
    executed: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    progress: TextIO | None = None,
) -> None:
    """Execute a notebook; its copy with outputs appears only when all cells have run.

    Parameters
    ----------
    notebook : str or Path
    executed : str or Path
        Where the copy goes.
    parameters : mapping of str to object, optional
        Values for the cell that is tagged ``parameters``.
    progress : text file, optional
        Where the bars of the notebook's cells go while they run.

    Raises
    ------
    NotebookFailed
        If a cell raises an error. What had run until then is kept below ``.work``.
    OSError
        If the disk is full. The old copy, if any, is unchanged.
    """
    executed = Path(executed)
    work = executed.parent / WORK
    with disk_space(executed):
        work.mkdir(parents=True, exist_ok=True)
        for stray in work.glob(".*~*"):
            if is_abandoned(stray):
                stray.unlink()
        scratch = work / f"{scratch_prefix()}{executed.name}"
        try:
            papermill.execute_notebook(
                notebook,
                scratch,
                parameters=dict(parameters or {}),
                kernel_name="python3",
                progress_bar=False,
                stderr_file=progress,
            )
        except papermill.PapermillExecutionError as error:
            kept = work / f"failed-{executed.name}"
            os.replace(scratch, kept)
            reason = _first_paragraph(error.evalue)
            raise NotebookFailed(
                f"cell {error.exec_count} of {Path(notebook).name}: {error.ename}: {reason}\n"
                f"The notebook up to there: {kept}"
            ) from error
        _tidy(scratch)
        os.replace(scratch, executed)


class OneLine:
    """Show the last of many lines of progress on one line of a terminal."""

    def __init__(self, terminal: TextIO, label: str):
        self.terminal, self.label = terminal, label

    def write(self, text: str) -> None:
        """Replace the line by the last part of a text that is not empty."""
        parts = [part for part in re.split(r"[\r\n]", text) if part.strip()]
        if parts:
            width = shutil.get_terminal_size().columns - 1
            self.terminal.write(f"\r\x1b[K{self.label} {parts[-1].strip()}"[: width + 4])
            self.terminal.flush()

    def flush(self) -> None:
        """Do nothing, since `write` does it."""


@contextmanager
def _stderr_to(log: Path) -> Iterator[TextIO]:
    """Let this process and the kernels write errors to a file; give the terminal instead.

    TensorFlow greets at every start, below Python, with lines that nobody needs.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    with open(log, "a") as file, os.fdopen(os.dup(2), "w") as terminal:
        os.dup2(file.fileno(), 2)
        try:
            yield terminal
        finally:
            sys.stderr.flush()
            os.dup2(terminal.fileno(), 2)


def _tidy(path: Path) -> None:
    """Merge the outputs of progress bars and keep their last state only."""
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    for cell in notebook.cells:
        merged = []
        for output in cell.get("outputs", []):
            stream = output.get("name") if output["output_type"] == "stream" else None
            if stream and merged and merged[-1].get("name") == stream:
                merged[-1]["text"] += output["text"]
            else:
                merged.append(output)
        for output in merged:
            if output["output_type"] == "stream":
                output["text"] = re.sub(r"[^\n]*\r(?!\n)", "", output["text"])
        if "outputs" in cell:
            cell["outputs"] = [o for o in merged if o.get("text", "-").strip()]
    nbformat.write(notebook, path)


def _first_paragraph(text: str) -> str:
    return text.strip().split("\n\n")[0][:1000]


def execute_all(
    notebooks: Sequence[str], backbone: str, results: Path, *, force: bool = False
) -> None:
    """Execute notebooks, printing one line per notebook, then the results' location."""
    begun = time.monotonic()
    live = sys.stderr.isatty() and sys.stdout.isatty()
    for name in notebooks:
        label = f"{name}.ipynb, {backbone}:"
        print(label, end=" ", flush=True)
        started = time.monotonic()
        parameters = {"BACKBONE": backbone, "RESULTS": str(results)}
        if force:
            parameters["FORCE"] = True
        folder = results / "notebooks" / backbone
        try:
            with _stderr_to(folder / WORK / "kernels.log") as terminal:
                progress = OneLine(terminal, label) if live else None
                executed = folder / f"{name}.ipynb"
                execute(ROOT / f"{name}.ipynb", executed, parameters, progress=progress)
        except (NotebookFailed, OSError) as error:
            print(f"failed after {time.monotonic() - started:.0f} s", flush=True)
            sys.exit(str(error))
        if live:
            print(f"\r\x1b[K{label}", end=" ")
        print(f"{time.monotonic() - started:.0f} s", flush=True)
    print(f"All notebooks: {time.monotonic() - begun:.0f} s. Results:")
    for folder, record in records(results):
        if record.backbone == backbone:
            print(f"  {folder}: {len(record.files)} files")
