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
from matplotlib.figure import Figure

from utils.files import disk_space, file_sha256, is_abandoned, scratch_prefix, whole_file
from utils.patches import to_uint8
from utils.results.record import RECORD, WORK, Record, commit, previous_files
from utils.results.steps import Steps, code_sha256
from utils.versions import versions

_NOT_PARAMETERS = ("RESULTS", "FORCE")  # where files go and whether to make them again


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
        What is known of each file, by its name in the folder: ``sha256``, ``alt`` and more.
    """

    def __init__(self, root: str | Path, *experiment: str):
        self.folder = Path(root, *experiment)
        self.files: dict[str, dict[str, Any]] = {}

    def figure(self, figure: Figure, name: str, alt: str = "", **about: Any) -> Path:
        """Save a matplotlib figure: ``.png`` for lines and text, ``.jpg`` for many pictures.

        Parameters
        ----------
        figure : Figure
        name : str
            Path in the folder.
        alt : str
            What is seen, in words.
        **about
            What else the gallery is to know: network, layer, class and so on.
        """
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
        image = to_uint8(image)
        encoded = cv2.imencode(
            path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options[path.suffix]
        )[1]
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
            raise ValueError(f"a file is to be called {name!r}; expected {' or '.join(suffixes)}.")
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
    variables : mapping of str to object
        The notebook's ``globals()``; those in upper case that are numbers, strings or lists are
        its parameters.
    force : bool
        Make every step again, also those that the same parameters have made before.
    """

    def __init__(
        self, notebook: str, root: str | Path, variables: Mapping[str, Any], *, force: bool = False
    ):
        self.notebook, self.root = notebook, Path(root)
        self.parameters = {
            name: value
            for name, value in variables.items()
            if name.isupper()
            and isinstance(value, (bool, int, float, str, list))
            and name not in _NOT_PARAMETERS
        }
        self._began, self._commit = time.monotonic(), commit()
        self._used: dict[str, Any] = {"weights": {}}
        self._verdicts: dict[str, str] = {}
        self._results: dict[str, Results] = {}
        work = self.root / WORK
        self.steps = Steps(work / "steps", force=force)
        self.once = self.steps.once
        with disk_space(work):
            work.mkdir(parents=True, exist_ok=True)
            for folder in work.glob(".*~*"):
                if is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)
            self._staged = Path(tempfile.mkdtemp(prefix=scratch_prefix(), dir=work))

    def results(self, *experiment: str) -> Results:
        """Return the results of an experiment, by its subfolders."""
        return self._results.setdefault("/".join(experiment), Results(self._staged, *experiment))

    def uses(self, networks: Mapping[str, Any], patches: Any) -> None:
        """Record what the results depend on.

        Parameters
        ----------
        networks : mapping of str to Model
        patches : PatchSet
        """
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
        """Put the results in the place of the old ones, and print where they are.

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
