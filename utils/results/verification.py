"""Check results against what their runs recorded, and the pages against the results."""

import json
from pathlib import Path

from utils.files import file_sha256
from utils.results.execution import ROOT
from utils.results.pages import build
from utils.results.run import RECORD, WORK, read_record


def problems(root: str | Path, notebooks: str | Path = ROOT) -> list[str]:
    """Compare the files of a results folder with their ``run.json``.

    Parameters
    ----------
    root : str or Path
        Folder of all results.
    notebooks : str or Path
        Folder of the notebooks that the executed copies come from.

    Returns
    -------
    list of str
        A line for each file that is missing, changed or of no run, each page that does not follow
        from the results, and each executed notebook whose code is not today's.

    Raises
    ------
    ValueError
        If there are no results, or a record is damaged.
    """
    root, notebooks = Path(root), Path(notebooks)
    found, known = [], set()
    for record_path in sorted(root.rglob(RECORD)):
        if WORK in record_path.parts:
            continue
        known.add(record_path)
        for name, about in read_record(record_path.parent)["files"].items():
            path = record_path.parent / name
            known.add(path)
            if not path.is_file():
                found.append(f"{path}: missing")
            elif file_sha256(path) != about["sha256"]:
                found.append(f"{path}: not the file that {record_path} recorded")
    if not known:
        raise ValueError(f"{root} has no {RECORD}: run 'make figures'.")
    try:
        pages = build(root)
    except ValueError as error:  # the pages cannot be compared until this is mended
        there = [*root.rglob("README.md"), root / "index.html"]
        pages = {path: path.read_text() for path in there if path.is_file()}
        found.append(str(error))
    for path, text in pages.items():
        known.add(path)
        if not path.is_file() or path.read_text() != text:
            found.append(f"{path}: not what the results say; run 'make gallery'")
    for path in sorted((root / "notebooks").rglob("*.ipynb")):
        if WORK in path.parts:
            continue
        known.add(path)
        source = notebooks / path.name
        if not source.is_file():
            found.append(f"{path}: there is no {source}")
        elif _code(path) != _code(source):
            found.append(f"{path}: executed from another version of {source.name}")
    for path in sorted(root.rglob("*")):
        if path.is_file() and path not in known and WORK not in path.parts:
            found.append(f"{path}: of no run; remove it, or run 'make gallery' if it is a page")
    return found


def _code(path: Path) -> list[str]:
    cells = json.loads(path.read_text())["cells"]
    tags = [cell["metadata"].get("tags", []) for cell in cells]
    return [
        "".join(cell["source"])
        for cell, tagged in zip(cells, tags, strict=True)
        if "injected-parameters" not in tagged
    ]


def report(root: Path) -> bool:
    """Print what is wrong with a results folder, and return whether anything is."""
    found = problems(root)
    for line in found:
        print(line)
    records = [path for path in root.rglob(RECORD) if WORK not in path.parts]
    files = sum(len(read_record(path.parent)["files"]) for path in records)
    print(f"{len(records)} experiments, {files} files, {len(found)} problems")
    return bool(found)
