"""The record of a run, ``run.json``: its only schema, and the check of results against it."""

import dataclasses
import itertools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from utils.files import file_sha256, whole_file

ROOT = Path(__file__).resolve().parents[2]  # of the repository, where the notebooks are
RECORD = "run.json"
WORK = ".work"  # steps and unfinished runs, below the folder of all results
# By which each claim is judged.
VERDICT_TABLES = {"C1": "c1.csv", "C2": "c2.csv", "C3": "c3.csv"}
AGAIN = 'Run "make figures" to write it again.'
# Attributes that pages need beside another attribute of a file.
_NEEDED = {"of": ["role"], "channel": ["layer"], "inset": ["class", "prediction", "probability"]}


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
    finetunings: int = 0  # number of finetuned networks behind the results; 0 if unknown
    gate: list = dataclasses.field(default_factory=list)  # conditions of each finetuned network
    commit: str = ""  # of the repository, with "-dirty" if files had changed; empty if unknown

    def sentence(self, claim: str) -> str:
        """Return the line of a verdict that names the claim, else its first line."""
        first = next(iter(self.verdicts.values()), "")
        lines = (self.verdicts.get(claim) or first).strip().splitlines()
        return next((line for line in lines if claim in line), lines[0] if lines else "")

    def write(self, folder: Path) -> None:
        """Write ``run.json`` into a folder."""
        with whole_file(folder / RECORD) as scratch:
            scratch.write_text(json.dumps(dataclasses.asdict(self), indent=1, default=str) + "\n")

    @classmethod
    def read(cls, folder: str | Path) -> "Record":
        """Read the ``run.json`` of a folder; raise ValueError if a field is missing or wrong."""
        path = Path(folder) / RECORD
        try:
            record = cls(**json.loads(path.read_text(encoding="utf-8")))
            record._check()
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{path} is no record: {error}. {AGAIN}") from error
        return record

    def _check(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float) if field.type is float else field.type):
                raise TypeError(f"{field.name!r} is {value!r}; expected {field.type.__name__}")
        entries = [("data", self.data, ["origin", "patches", "groups"])]
        entries += [(f"weights, {key}", entry, ["origin"]) for key, entry in self.weights.items()]
        for name, entry in self.files.items():
            needed = [keys for attribute, keys in _NEEDED.items() if attribute in entry]
            entries.append((name, entry, ["alt", "sha256", *itertools.chain(*needed)]))
        for name, entry, keys in entries:
            if missing := [key for key in keys if key not in entry]:
                raise ValueError(f"{name!r} is {entry!r}; expected it with {missing[0]!r} too")


def in_words(verdict: object, gate: Sequence[Mapping[str, Any]]) -> str:
    """Say a verdict, a `Verdict` or text; not testable if a condition of the gate failed."""
    if not (failed := [row for row in gate if row["passed"] is False]):
        return str(verdict)
    reason = "{finetuning}: {condition} {value:.2f}, expected {expected}"
    reasons = "; ".join(reason.format(**row) for row in failed)
    text = f"the network is hardly finetuned: {reasons}"
    if dataclasses.is_dataclass(verdict):  # which has values too
        return str(dataclasses.replace(verdict, outcome="not testable", reason=text))
    return f"Not testable: {text}"


def judge_again(claim: str, folder: Path, run: Mapping[str, Any]) -> object:
    """Judge a claim by its table in a folder, or by none, for the run of a record."""
    # Only here, since records need no TensorFlow.
    from utils.claims import judge

    path = folder / VERDICT_TABLES[claim]
    table = pd.read_csv(path) if path.is_file() else None
    scope = str(run["parameters"].get("PATCHES", "sample"))
    about = {"backbone": run["backbone"], "finetunings": run["finetunings"], "scope": scope}
    return judge(claim, table, **about)


def changed_verdicts(folder: Path, record: Record) -> list[str]:
    """Return one line per verdict that is not what the table in its folder gives."""
    lines = []
    for claim, name in VERDICT_TABLES.items():
        if claim not in record.verdicts or name not in record.files:
            continue
        words = in_words(judge_again(claim, folder, dataclasses.asdict(record)), record.gate)
        if words != record.verdicts[claim]:
            lines.append(f"{folder / RECORD}: the verdict on {claim} is not that of its table")
    return lines


def records(root: str | Path) -> list[tuple[Path, Record]]:
    """Return the folder and the record of every experiment below a folder of results."""
    folders = [path.parent for path in sorted(Path(root).rglob(RECORD)) if WORK not in path.parts]
    if not folders:
        raise ValueError(f'{root} has no {RECORD}. Run "make figures".')
    return [(folder, Record.read(folder)) for folder in folders]


def problems(root: str | Path) -> list[str]:
    """Return one line per file that is missing, changed or not produced by any run.

    If there is none, one line per verdict that does not follow from its table. Pages and executed
    notebooks, which no run records, are left out.
    """
    root, hashes = Path(root), {}
    for folder, record in records(root):
        hashes |= {folder / name: about["sha256"] for name, about in record.files.items()}
    lines = []
    for path, sha256 in hashes.items():
        if not path.is_file():
            lines.append(f"{path}: missing")
        elif file_sha256(path) != sha256:
            lines.append(f"{path}: not the file that {RECORD} recorded")
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        of_no_run = {WORK, "notebooks"} & {*path.relative_to(root).parts}
        of_no_run = of_no_run or path.name in (RECORD, "README.md", "index.html")
        if path not in hashes and not of_no_run:
            lines.append(f"{path}: not produced by any run; remove it")
    if not lines:
        lines = [line for known in records(root) for line in changed_verdicts(*known)]
    return lines


def commit() -> str:
    """Return the commit of the code, with ``-dirty`` if code has changed; empty if unknown."""
    # Results are tracked too, executed notebooks among them, and change with every run.
    code = ["--", "utils", ":(glob)*.ipynb", "requirements.txt"]
    commands = ["git", "rev-parse", "--short=7", "HEAD"], ["git", "diff", "--stat", "HEAD", *code]
    options = {"cwd": ROOT, "capture_output": True, "text": True}
    try:
        head, changes = (subprocess.run(command, **options).stdout.strip() for command in commands)
    except OSError:  # there is no git
        return ""
    return f"{head}-dirty" if head and changes else head
