"""Results of a run: figures and tables, where they come from, and all of them or none.

A run writes into a folder of its own. Only when it is complete do its files replace the old ones,
so that a folder of results always holds one complete run, even if the next is interrupted.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
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

from utils.files import disk_space, file_sha256, is_abandoned, scratch_prefix, whole_file
from utils.patches import to_uint8
from utils.results.figures import use_style
from utils.results.record import RECORD, ROOT, WORK, Record, commit, previous_files
from utils.results.steps import Steps, code_sha256
from utils.results.tables import readable
from utils.versions import versions

_NOT_RECORDED = ("RESULTS", "FORCE")  # where files go and whether to make them again


class Results:
    """The files of one experiment.

    Parameters
    ----------
    root : str or Path
        Folder of all results.
    *experiment : str
        Subfolders of this experiment.

    Attributes
    ----------
    folder : Path
    files : dict of str to dict
        Attributes of each file, by its name in the folder: ``sha256``, ``alt`` and more.
    """

    def __init__(self, root: str | Path, *experiment: str):
        self.folder = Path(root, *experiment)
        self.files: dict[str, dict[str, Any]] = {}

    def show(
        self,
        content: Figure | pd.DataFrame,
        name: str,
        alt: str = "",
        *,
        layout: Mapping[str, Any] | None = None,
        **about: Any,
    ) -> None:
        """Save a figure or a table and display it; the pages show the table in the same layout.

        Parameters
        ----------
        content : Figure or DataFrame
        name : str
            Path in the folder: ``.png``, ``.jpg`` or ``.csv``.
        alt : str
            Alternative text.
        layout : mapping, optional
            Columns ``index``, ``columns`` and ``values`` of a wide table; see `readable`.
        **about
            Further attributes for the gallery: network, layer, class and so on.
        """
        if isinstance(content, pd.DataFrame):
            layout = dict(layout or {})
            self.table(content, name, alt, layout=layout, **about)
            text = readable(content, **layout)
            display(text.set_index(list(text.columns[: len(layout.get("index", "1"))])))
        else:
            self.figure(content, name, alt, **about)
            display(content)

    def figure(self, figure: Figure, name: str, alt: str = "", **about: Any) -> Path:
        """Save a matplotlib figure: ``.png`` for lines and text, ``.jpg`` for many pictures."""
        options = {
            # Without the version of matplotlib, which would change the bytes but not the picture.
            ".png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 9}},
            ".jpg": {"pil_kwargs": {"quality": 80, "optimize": True}},
        }
        path = self._path(name, options)
        with whole_file(path) as scratch:
            figure.savefig(scratch, **options[path.suffix])
        return self._add(name, alt, about)

    def image(self, image: np.ndarray, name: str, alt: str = "", **about: Any) -> Path:
        """Save RGB pixels, ``(H, W, 3)``, uint8 or float in [0, 1], as ``.png`` or ``.jpg``."""
        options = {
            ".png": [cv2.IMWRITE_PNG_COMPRESSION, 9],
            ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
        }
        path = self._path(name, options)
        pixels = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
        encoded = cv2.imencode(path.suffix, pixels, options[path.suffix])[1]
        with whole_file(path) as scratch:
            scratch.write_bytes(encoded.tobytes())
        return self._add(name, alt, about)

    def table(self, table: pd.DataFrame, name: str, alt: str = "", **about: Any) -> Path:
        """Save a table as ``.csv``, six digits per number."""
        with whole_file(self._path(name, (".csv",))) as scratch:
            table.to_csv(scratch, index=False, float_format="%.6g")
        return self._add(name, alt, about)

    def _path(self, name: str, suffixes) -> Path:
        if Path(name).suffix not in suffixes:
            expected = " or ".join(suffixes)
            raise ValueError(f"file name is {name!r}; expected a name ending in {expected}.")
        return self.folder / name

    def _add(self, name: str, alt: str, about: Mapping[str, Any]) -> Path:
        path = self.folder / name
        known = {key: value for key, value in about.items() if value is not None}
        self.files[name] = {"sha256": file_sha256(path), "alt": alt, **known}
        return path


class Run:
    """One execution of a notebook: its steps, its results, and where they come from.

    Parameters
    ----------
    notebook : str
        File name.
    root : str or Path
        Folder of all results.
    parameters : mapping of str to object
        Parameters of the notebook.
    force : bool
        Compute every step again, also those that the same parameters have made before.
    """

    def __init__(
        self, notebook: str, root: str | Path, parameters: Mapping[str, Any], *, force: bool = False
    ):
        self.notebook, self.root, self.parameters = notebook, Path(root), dict(parameters)
        self._began, self._commit = time.monotonic(), commit()
        self._used: dict[str, Any] = {"weights": {}}
        self._verdicts: dict[str, str] = {}
        self._results: dict[str, Results] = {}
        work = self.root / WORK
        with disk_space(work):
            work.mkdir(parents=True, exist_ok=True)
            for folder in work.glob(".*~*"):
                if is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)
            self._staged = Path(tempfile.mkdtemp(prefix=scratch_prefix(), dir=work))
            self.steps = Steps(work / "steps", force=force)
        self.once = self.steps.once

    def results(self, *experiment: str) -> Results:
        """Return the results of an experiment, by its subfolders."""
        return self._results.setdefault("/".join(experiment), Results(self._staged, *experiment))

    def uses(self, networks: Mapping[str, Any], patches: Any) -> None:
        """Record the networks, by name, and the PatchSet that the results depend on."""
        for name, model in networks.items():
            self._used["backbone"] = model.backbone.name
            self._used["backbone_title"] = model.backbone.title
            self._used["weights"][name] = {"origin": model.origin, "sha256": model.sha256}
        self._used["data"] = {
            "origin": patches.origin,
            "sha256": patches.sha256,
            "patches": len(patches),
            "groups": len(set(patches.groups)),
        }

    def verdict(self, claim: str, text: str) -> None:
        """Print what the data say about a claim, and keep it with the results."""
        self._verdicts[claim] = text
        print(text)

    def finish(self) -> None:
        """Replace the old results by the new ones, and print where they are.

        Files of the previous run that this run did not produce are removed; other files are left
        alone.
        """
        if "backbone" not in self._used:
            raise ValueError("call uses() before finish() to record networks and patches.")
        seconds = time.monotonic() - self._began
        with disk_space(self.root), FileLock(self.root / WORK / "publish.lock"):
            for name, results in self._results.items():
                record = Record(
                    notebook=self.notebook,
                    **self._used,
                    verdicts=self._verdicts,
                    parameters=self.parameters,
                    versions=versions(),
                    code_sha256=code_sha256(),
                    finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    duration_seconds=round(seconds, 1),
                    files=dict(sorted(results.files.items())),
                    steps_kept=self.steps.taken,
                    commit=self._commit,
                )
                _publish(results, self.root / name, record)
                print(f"{self.root / name}: {len(results.files)} files")
        shutil.rmtree(self._staged, ignore_errors=True)
        if self.steps.taken:
            print(
                f"{self.steps.taken} of {self.steps.taken + self.steps.made} steps were kept from "
                "an earlier run with the same parameters; FORCE makes them again."
            )


def start(notebook: str, variables: Mapping[str, Any], folder: str) -> Run:
    """Set a notebook up: style of the figures, seed, parameters, backbone and main folder.

    Parameters
    ----------
    notebook : str
        Name of the notebook's file, at the top of the repository.
    variables : mapping of str to object
        The notebook's ``globals()``, with the values of its parameters.
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

    path = ROOT / notebook
    if not path.is_file():
        raise ValueError(f"notebook is {notebook!r}, but {path} is no file: give the file's name.")
    names = [name for name in inspect_notebook(path) if name not in _NOT_RECORDED]
    parameters = {name: variables[name] for name in names}
    use_style()
    make_deterministic(variables["SEED"])
    run = Run(notebook, variables["RESULTS"], parameters, force=variables["FORCE"])
    run.backbone = BACKBONES[choose_backbone(variables["BACKBONE"])]
    run.main = run.results(*folder.format(backbone=run.backbone.name).split("/"))
    run.show = run.main.show
    return run


def _publish(results: Results, folder: Path, record: Record) -> None:
    record.write(results.folder)  # where it fails if there is no space
    before = previous_files(folder)
    for name in [*results.files, RECORD]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(results.folder / name, folder / name)
    for name in set(before) - results.files.keys():
        path = folder / name
        path.unlink(missing_ok=True)
        if path.parent != folder and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
