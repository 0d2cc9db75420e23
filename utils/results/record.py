"""The record of a run, ``run.json``: its only schema, and the check of results against it."""

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from utils.files import file_sha256, whole_file

ROOT = Path(__file__).resolve().parents[2]  # of the repository, where the notebooks are
RECORD = "run.json"
WORK = ".work"  # steps and unfinished runs, below the folder of all results
AGAIN = 'Run "make figures" to write it again.'
# Attributes that pages need beside another attribute of a file.
_NEEDED_WITH = {"of": ["role"], "channel": ["layer"], "inset": ["class", "prediction"]}


@dataclass(frozen=True)
class Record:
    """What a run used and made, and how."""

    notebook: str  # file name
    backbone: str
    backbone_title: str
    weights: dict  # origin and SHA-256 of each network
    data: dict  # origin, SHA-256, and numbers of patches and groups
    verdicts: dict  # sentences by claim
    parameters: dict  # of the notebook
    versions: dict  # of the packages
    code_sha256: str  # of the methods
    finished: str  # time in UTC, ISO 8601
    duration_seconds: float  # without the time of steps kept
    files: dict  # SHA-256, alternative text and more of each file, by its name in the folder
    steps_kept: int = 0  # taken from earlier runs
    commit: str = ""  # of the repository, with "-dirty" if files had changed; empty if unknown

    def write(self, folder: Path) -> None:
        """Write ``run.json`` into a folder."""
        with whole_file(folder / RECORD) as scratch:
            scratch.write_text(json.dumps(dataclasses.asdict(self), indent=1, default=str) + "\n")

    @classmethod
    def read(cls, folder: str | Path) -> "Record":
        """Read the ``run.json`` of a folder; raise ValueError if a field is missing or wrong."""
        path = Path(folder) / RECORD
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not JSON ({error}). {AGAIN}") from error
        values = values if isinstance(values, dict) else {}
        known = {}
        for field in dataclasses.fields(cls):
            value = known[field.name] = values.get(field.name, field.default)
            if not isinstance(value, (int, float) if field.type is float else field.type):
                text = repr(value)[:60] if field.name in values else "nothing"
                expected = f"{field.name!r}; expected {field.type.__name__}"
                raise ValueError(f"{path} has {text} for {expected}. {AGAIN}")
        record = cls(**known)
        for name, entry, keys in record._entries():
            for key in keys:
                if not isinstance(entry, dict) or key not in entry:
                    text = f"{path} has {str(entry)[:60]} for {name!r}"
                    raise ValueError(f"{text}; expected a dictionary with {key!r}. {AGAIN}")
        return record

    def _entries(self) -> Iterator[tuple[str, dict, list[str]]]:
        """Yield the dictionaries within the record, with the keys that pages need of each."""
        yield "data", self.data, ["origin", "patches", "groups"]
        for name, entry in self.weights.items():
            yield f"weights, {name}", entry, ["origin"]
        for name, entry in self.files.items():
            yield name, entry, ["alt", "sha256"]
            for attribute in entry.keys() & _NEEDED_WITH:
                yield name, entry, _NEEDED_WITH[attribute]


def records(root: str | Path) -> Iterator[tuple[Path, Record]]:
    """Yield the folder and the record of every experiment below a folder of results."""
    for path in sorted(Path(root).rglob(RECORD)):
        if WORK not in path.parts:
            yield path.parent, Record.read(path.parent)


def problems(root: str | Path) -> list[str]:
    """Return one line per file that is missing, changed or not produced by any run.

    Pages and executed notebooks, which no run records, are left out.
    """
    root = Path(root)
    lines, known = [], {root / "index.html"}
    for folder, record in records(root):
        known |= {folder / RECORD, *(folder / name for name in record.files)}
        for name, about in record.files.items():
            path = folder / name
            if not path.is_file():
                lines.append(f"{path}: missing")
            elif file_sha256(path) != about["sha256"]:
                lines.append(f"{path}: not the file that {folder / RECORD} recorded")
    if len(known) == 1:
        raise ValueError(f"{root} has no {RECORD}: run 'make figures'.")
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        inside = path.relative_to(root).parts
        of_no_run = WORK in inside or inside[0] == "notebooks" or path.name == "README.md"
        if path not in known and not of_no_run:
            lines.append(f"{path}: not produced by any run; remove it")
    return lines


def previous_files(folder: Path) -> list[str]:
    """List the files of the record in a folder, whatever else is wrong with it."""
    try:
        return list(json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it names none
        return []


def commit() -> str:
    """Return the commit of the code, with ``-dirty`` if code has changed; empty if unknown."""

    def git(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)

    try:
        head = git("rev-parse", "--short=7", "HEAD").stdout.strip()
        # Results are tracked too, and change with every run.
        same = git("diff", "--quiet", "HEAD", "--", "utils", "*.ipynb", "*requirements.txt")
    except OSError:  # there is no git
        return ""
    return f"{head}-dirty" if head and same.returncode else head
