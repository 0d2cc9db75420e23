"""The record of a run: the only schema of ``run.json``, written and read here."""

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from utils.files import whole_file

RECORD = "run.json"
WORK = ".work"  # steps and unfinished runs, below the folder of all results
AGAIN = 'Run "make figures" to write it again.'
# What else is needed with a field, or with an attribute of a file.
_WITH = {
    "data": ("origin", "patches", "groups"),
    "of": ("role",),
    "channel": ("layer",),
    "inset": ("class", "prediction"),
}


@dataclass(frozen=True)
class Record:
    """What a run used and made, and how.

    Attributes
    ----------
    notebook : str
        File name.
    backbone, backbone_title : str
    weights : dict of str to dict
        Origin and SHA-256 of each network.
    data : dict
        Origin, SHA-256, and numbers of patches and groups.
    verdicts : dict of str to str
        Sentences, by claim.
    parameters : dict
        Parameters of the notebook.
    versions : dict of str to str
        Versions of the packages.
    code_sha256 : str
        Hash of the code of the methods.
    finished : str
        Time in UTC, ISO 8601.
    duration_seconds : float
    files : dict of str to dict
        SHA-256, alternative text and more of each file, by its name in the folder.
    steps_kept : int
        Steps taken from earlier runs, whose time is not in the duration.
    commit : str
        Commit of the repository, with ``-dirty`` if files had changed; empty where unknown.
    """

    notebook: str
    backbone: str
    backbone_title: str
    weights: dict
    data: dict
    verdicts: dict
    parameters: dict
    versions: dict
    code_sha256: str
    finished: str
    duration_seconds: float
    files: dict
    steps_kept: int = 0
    commit: str = ""

    def write(self, folder: Path) -> None:
        """Write ``run.json`` into a folder."""
        with whole_file(folder / RECORD) as scratch:
            scratch.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: str | Path) -> "Record":
        """Read and check the ``run.json`` of a folder.

        Raises
        ------
        ValueError
            If it cannot be read, or a field is missing or of another type.
        """
        path = Path(folder) / RECORD
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not JSON ({error}). {AGAIN}") from error
        values = values if isinstance(values, dict) else {}
        expected = get_type_hints(cls)
        optional = {field.name: field.default for field in dataclasses.fields(cls)}
        known = {}
        for key, kind in expected.items():
            value = values.get(key, optional[key])
            if not isinstance(value, (int, float) if kind is float else kind):
                found = repr(value)[:60] if key in values else "nothing"
                raise ValueError(
                    f"{path} has {found} for {key!r}; expected {kind.__name__}. {AGAIN}"
                )
            known[key] = value
        record = cls(**known)
        _check_parts(path, record)
        return record


def _check_parts(path: Path, record: Record) -> None:
    """Raise ValueError unless dictionaries within a record have what pages need."""

    def check(name: str, value: Any, *keys: str) -> None:
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                what = f"{path} has {str(value)[:60]} for {name!r}"
                raise ValueError(f"{what}; expected a dictionary with {key!r}. {AGAIN}")

    check("data", record.data, *_WITH["data"])
    for name, weights in record.weights.items():
        check(f"weights, {name}", weights, "origin")
    for name, attributes in record.files.items():
        check(name, attributes, "alt", "sha256")
        for key in _WITH.keys() & attributes.keys():
            check(name, attributes, *_WITH[key])


def records(root: str | Path) -> Iterator[tuple[Path, Record]]:
    """Find all experiments below a folder of results.

    Parameters
    ----------
    root : str or Path

    Yields
    ------
    folder : Path
    record : Record

    Raises
    ------
    ValueError
        If a record cannot be understood.
    """
    for path in sorted(Path(root).rglob(RECORD)):
        if WORK not in path.parts:
            yield path.parent, Record.read(path.parent)


def previous_files(folder: Path) -> list[str]:
    """Name the files of the record that lies in a folder, whatever else is wrong with it."""
    try:
        return list(json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it names none
        return []


def commit() -> str:
    """Return the commit of the code, with ``-dirty`` if code has changed; empty if unknown."""

    def git(*arguments: str) -> subprocess.CompletedProcess:
        folder = Path(__file__).resolve().parent.parent.parent
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)

    try:
        head = git("rev-parse", "--short=7", "HEAD")
        if head.returncode:
            return ""
        # Results are tracked too, and change with every run.
        same = git("diff", "--quiet", "HEAD", "--", "utils", "*.ipynb", "*requirements.txt")
    except OSError:  # there is no git
        return ""
    return head.stdout.strip() + ("-dirty" if same.returncode else "")
