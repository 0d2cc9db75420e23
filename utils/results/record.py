"""The record of a run: the only schema of ``run.json``, written and read here."""

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from utils.files import whole_file

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
        record._check_entries(path)
        return record

    def _check_entries(self, path: Path) -> None:
        """Raise ValueError unless dictionaries within the record have what pages need."""
        entries = [("data", self.data, ["origin", "patches", "groups"])]
        entries += [(f"weights, {name}", about, ["origin"]) for name, about in self.weights.items()]
        for name, about in self.files.items():
            more = [keys for attribute, keys in _NEEDED_WITH.items() if attribute in about]
            entries.append((name, about, sum(more, ["alt", "sha256"])))
        for name, about, keys in entries:
            for key in keys:
                if not isinstance(about, dict) or key not in about:
                    text = f"{path} has {str(about)[:60]} for {name!r}"
                    raise ValueError(f"{text}; expected a dictionary with {key!r}. {AGAIN}")


def records(root: str | Path) -> Iterator[tuple[Path, Record]]:
    """Yield the folder and the record of every experiment below a folder of results."""
    for path in sorted(Path(root).rglob(RECORD)):
        if WORK not in path.parts:
            yield path.parent, Record.read(path.parent)


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
        head = git("rev-parse", "--short=7", "HEAD")
        if head.returncode:
            return ""
        # Results are tracked too, and change with every run.
        same = git("diff", "--quiet", "HEAD", "--", "utils", "*.ipynb", "*requirements.txt")
    except OSError:  # there is no git
        return ""
    return head.stdout.strip() + ("-dirty" if same.returncode else "")
