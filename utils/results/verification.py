"""Check results against the hashes that their runs recorded."""

from pathlib import Path

from utils.files import file_sha256
from utils.results.record import RECORD, WORK, records


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


def report(root: str | Path) -> bool:
    """Print what is wrong with a folder of results; return whether anything is."""
    lines = problems(root)
    counts = [len(record.files) for _, record in records(root)]
    for line in lines:
        print(line)
    print(f"{len(counts)} experiments, {sum(counts)} files, {len(lines)} problems")
    return bool(lines)
