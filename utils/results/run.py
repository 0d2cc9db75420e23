"""Results of a run: figures and tables, where they come from, and all of them or none.

A run writes into a folder of its own, whose files replace the old ones only when it is complete.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock
from IPython.display import display
from matplotlib.figure import Figure
from papermill import inspect_notebook

from utils import cluster
from utils.files import disk_space, file_sha256, remove_abandoned, scratch_prefix, whole_file
from utils.patches import to_uint8
from utils.results.figures import grey_layers, use_style
from utils.results.record import (
    RECORD,
    ROOT,
    VERDICT_TABLES,
    WORK,
    Record,
    commit,
    in_words,
    judge_again,
)
from utils.results.steps import Steps
from utils.versions import code_sha256, versions

# Where files go, whether to make them again, and where that is computed.
_NOT_RECORDED = ("RESULTS", "FORCE", "SCHEDULER")
_FIGURE: dict[str, dict[str, Any]] = {
    # Without the version of matplotlib, which would change the bytes but not the picture.
    ".png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 9}},
    ".jpg": {"pil_kwargs": {"quality": 80, "optimize": True}},
}
_IMAGE = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 9],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
}
_TABLE = {".csv": {"index": False, "float_format": "%.6g"}}


class Results:
    """The files of one experiment, by name, each with ``sha256``, ``alt`` and more attributes.

    Every name is a path in the folder, and every `alt` an alternative text; further arguments
    are attributes for the gallery: network, layer, class and so on.
    """

    def __init__(self, root: str | Path, *experiment: str):
        self.folder, self.experiment = Path(root, *experiment), experiment
        self.files: dict[str, dict[str, Any]] = {}

    def show(self, content: Figure | pd.DataFrame, name: str, alt: str = "", **about: Any) -> None:
        """Save a figure or table and display it; a table's `layout` is that of `readable`."""
        if isinstance(content, Figure):
            self.figure(content, name, alt, **about)
            display(content)
        else:
            layout = about.setdefault("layout", {})
            self.table(content, name, alt, **about)
            text = readable(content, **layout)
            display(text.set_index(list(text.columns[: len(layout.get("index", [""]))])))

    def figure(self, figure: Figure, name: str, alt: str = "", **about: Any) -> None:
        """Save a matplotlib figure: ``.png`` for lines and text, ``.jpg`` for many pictures."""
        with self._file(name, alt, about, _FIGURE) as (scratch, options):
            figure.savefig(scratch, **options)

    def image(self, image: np.ndarray, name: str, alt: str = "", **about: Any) -> None:
        """Save RGB pixels, ``(H, W, 3)``, uint8 or float in [0, 1], as ``.png`` or ``.jpg``."""
        with self._file(name, alt, about, _IMAGE) as (scratch, options):
            pixels = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
            scratch.write_bytes(cv2.imencode(scratch.suffix, pixels, options)[1])

    def table(self, table: pd.DataFrame, name: str, alt: str = "", **about: Any) -> None:
        """Save a table as ``.csv``, six digits per number."""
        with self._file(name, alt, about, _TABLE) as (scratch, options):
            table.to_csv(scratch, **options)

    @contextmanager
    def _file(
        self, name: str, alt: str, about: dict[str, Any], options: Mapping[str, Any]
    ) -> Iterator[tuple[Path, Any]]:
        path = self.folder / name
        if path.suffix not in options:
            expected = " or ".join(options)
            raise ValueError(f"file name is {name!r}; expected a name ending in {expected}.")
        with whole_file(path) as scratch:
            yield scratch, options[path.suffix]
        self.files[name] = {"sha256": file_sha256(path), "alt": alt, **about}

    def publish(self, folder: Path, record: Record) -> None:
        """Move the files to a folder, and remove those of the run before that are not replaced."""
        record.write(self.folder)  # where it fails if there is no space
        before = set()
        with suppress(ValueError):  # there is no record, or none to be trusted
            before = set(Record.read(folder).files)
        for name in [*self.files, RECORD]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.folder / name, folder / name)
        for name in before - self.files.keys():
            (folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # it has other files
                (folder / name).parent.rmdir()
        print(f"{folder}: {len(self.files)} files")


def readable(
    table: pd.DataFrame, index: Sequence[str] = (), columns: Sequence[str] = (), values: str = ""
) -> pd.DataFrame:
    """Write numbers with three digits, and the columns ``low`` and ``high`` as an interval.

    With `columns` the table becomes wide: rows of `index` by the values of `columns`. What then
    falls on the same place, such as several seeds, is averaged within the widest interval.
    """
    index, columns = list(index), list(columns)
    if columns:
        how = {values: "mean"} | ({"low": "min", "high": "max"} if "low" in table else {})
        table = table.groupby(index + columns, sort=False, dropna=False).agg(how).reset_index()
    text = table.map(_number)
    if "low" in table:
        values = table.columns[table.columns.get_loc("low") - 1]
        interval = " (" + text.pop("low") + " to " + text.pop("high") + ")"
        text[values] += interval.where(table["low"].notna(), "")
    if columns:
        text = text.pivot_table(values, index, columns, aggfunc="first", sort=False, fill_value="–")
        if len(columns) > 1:
            text.columns = [" and ".join(names) for names in text.columns]
        text = text.reset_index()
    return text


def _number(value: Any) -> str:
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:#.3g}" if abs(value) < 999.5 else f"{value:.0f}"
    return str(value)


class Run:
    """One execution of a notebook: its steps, kept ones too unless `force`, and its results."""

    def __init__(
        self, notebook: str, root: str | Path, parameters: Mapping[str, Any], *, force: bool = False
    ):
        self.root, self._began = Path(root), time.monotonic()
        self.record = {"notebook": notebook, "parameters": dict(parameters), "commit": commit()}
        self.record |= {"weights": {}, "verdicts": {}, "gate": []}
        self._results: dict[str, Results] = {}
        work = self.root / WORK
        with disk_space(work):
            work.mkdir(parents=True, exist_ok=True)
            remove_abandoned(work)
            self._staged = Path(tempfile.mkdtemp(prefix=scratch_prefix(), dir=work))
            self._steps = Steps(work / "steps", force=force)
        self.once, self.map_chunks = self._steps.once, self._steps.map_chunks

    def results(self, *experiment: str) -> Results:
        """Return the results of an experiment, by its subfolders."""
        return self._results.setdefault("/".join(experiment), Results(self._staged, *experiment))

    def uses(
        self, networks: Mapping[str, Any], patches: Any, gates: pd.DataFrame | None = None
    ) -> None:
        """Record the networks, by name, and the PatchSet that the results depend on.

        Layers that are unsound in one of the networks are drawn grey. With the table of
        `networks.gates`, verdicts tell where a network is hardly finetuned.
        """
        for name, model in networks.items():
            self.record |= {"backbone": model.backbone.name, "backbone_title": model.backbone.title}
            self.record["weights"][name] = {"origin": model.origin, "sha256": model.sha256}
        unsound = {layer for model in networks.values() for layer in model.unsound_layers}
        grey_layers(unsound)
        data = {"origin": patches.origin, "sha256": patches.sha256, "patches": len(patches)}
        self.record["data"] = {**data, "groups": len(set(patches.groups))}
        if gates is not None:
            self.record["gate"] = json.loads(gates.to_json(orient="records"))
            self.record["finetunings"] = count = gates["finetuning"].nunique()
            failed = gates["finetuning"][gates["passed"].eq(False)].nunique()
            print(f"gate: {count - failed} of {count} networks are finetuned; see run.json")

    def judge(self, claim: str, table: pd.DataFrame | None, alt: str = "") -> None:
        """Save the table by which a claim is judged, if there is one, and print the verdict."""
        if table is not None:
            self.main.table(table, VERDICT_TABLES[claim], alt)
        self.verdict(claim, judge_again(claim, self.main.folder, self.record))

    def verdict(self, claim: str, verdict: object) -> None:
        """Print what the data say, a `Verdict` or text, and keep it in words."""
        text = in_words(verdict, self.record["gate"])
        self.record["verdicts"][claim] = text
        print(text)

    def finish(self) -> None:
        """Replace the old results by the new ones, and print where they are."""
        if "backbone" not in self.record:
            raise ValueError("call uses() before finish() to record networks and patches.")
        cluster.disconnect()
        made, kept = self._steps.made, self._steps.taken
        self.record |= {
            "versions": versions(),
            "code_sha256": code_sha256(),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "duration_seconds": round(time.monotonic() - self._began, 1),
            "steps_kept": kept,
        }
        with disk_space(self.root), FileLock(self.root / WORK / "publish.lock"):
            for name, results in self._results.items():
                record = Record(**self.record, files=dict(sorted(results.files.items())))
                results.publish(self.root / name, record)
        shutil.rmtree(self._staged, ignore_errors=True)
        if kept:
            print(f"{kept} of {kept + made} steps were kept from earlier runs; see FORCE.")


def start(notebook: str, variables: Mapping[str, Any], folder: str) -> Run:
    """Set a notebook up: style of the figures, seed, parameters, backbone and main folder.

    Parameters
    ----------
    notebook : str, the name of its file
    variables : mapping of str to object, the notebook's ``globals()``
    folder : str
        Folder of the main results below RESULTS, such as ``"gradcam/{backbone}"``.

    Returns
    -------
    Run
        With the `backbone` and the `main` results, whose ``show`` is also the run's.
    """
    # Only here, since nothing else of this subpackage needs TensorFlow.
    from utils.networks import BACKBONES, choose_backbone
    from utils.networks.finetuning import make_deterministic

    names = [name for name in inspect_notebook(ROOT / notebook) if name not in _NOT_RECORDED]
    parameters = {name: variables[name] for name in names}
    use_style()
    make_deterministic(variables["SEED"])
    cluster.connect(variables["SCHEDULER"])
    run = Run(notebook, variables["RESULTS"], parameters, force=variables["FORCE"])
    run.backbone = BACKBONES[choose_backbone(variables["BACKBONE"])]
    run.main = run.results(*folder.format(backbone=run.backbone.name).split("/"))
    run.show = run.main.show
    return run
