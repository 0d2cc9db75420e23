"""Check results against the hashes that their runs recorded."""

from pathlib import Path

from utils.files import file_sha256
from utils.results.record import RECORD, WORK, records


def problems(root: str | Path) -> list[str]:
    """Compare the files of a results folder with their ``run.json``.

    Parameters
    ----------
    root : str or Path
        Folder of all results.

    Returns
    -------
    list of str
        One line for each file that is missing, changed or not produced by any run. Pages and
        executed notebooks, which no run records, are left out.

    Raises
    ------
    ValueError
        If there are no results, or a record is damaged.
    """
    root = Path(root)
    found, known = [], {root / "index.html"}
    for folder, record in records(root):
        known |= {folder / RECORD, *(folder / name for name in record.files)}
        for name, about in record.files.items():
            path = folder / name
            if not path.is_file():
                found.append(f"{path}: missing")
            elif file_sha256(path) != about["sha256"]:
                found.append(f"{path}: not the file that {folder / RECORD} recorded")
    if len(known) == 1:
        raise ValueError(f"{root} has no {RECORD}: run 'make figures'.")
    for path in sorted(root.rglob("*")):
        apart = path.name == "README.md" or WORK in path.parts
        apart |= path.relative_to(root).parts[0] == "notebooks"
        if path.is_file() and path not in known and not apart:
            found.append(f"{path}: not produced by any run; remove it")
    return found


def report(root: str | Path) -> bool:
    """Print what is wrong with a results folder.

    Parameters
    ----------
    root : str or Path
        Folder of all results.

    Returns
    -------
    bool
        Whether anything is wrong.
    """
    found = problems(root)
    for line in found:
        print(line)
    of_runs = [record for _, record in records(root)]
    files = sum(len(record.files) for record in of_runs)
    print(f"{len(of_runs)} experiments, {files} files, {len(found)} problems")
    return bool(found)
