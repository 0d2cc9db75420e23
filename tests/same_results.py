"""Run every notebook at small parameters at two commits, and compare tables, figures and verdicts.

    python tests/same_results.py 6474b73 HEAD [--backbone densenet121] [--keep FOLDER]

Each commit finetunes its own network in a work tree of its own. A file counts as the same if its
bytes are; of each ``run.json`` the verdicts are compared. Takes about five minutes per commit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {"densenet121": ["dense1", "dense4"], "inceptionv3": ["mixed5b", "mixed7a"]}
EXECUTE = """
import json, sys, papermill
name, parameters = sys.argv[1], json.loads(sys.argv[2])
papermill.execute_notebook(name, None, parameters, kernel_name="python3", progress_bar=False)
"""


def parameters(backbone: str) -> dict[str, dict]:
    """Return small parameters of each notebook."""
    channels = {"CHANNELS": 2, "SIZE": 80, "STEPS": 3, "LAYERS": LAYERS[backbone]}
    return {
        "visualize_channels_CNN": channels,
        "lucid_iv3": channels,
        "gradcam_plus": {"PATCH_SIZE": 150, "PER_CLASS": 2, "CHECKED": 3},
        "RCVs_analysis": {
            "PER_CLASS": 60,
            "FOLDS": 3,
            "SHUFFLES": 4,
            "PERMUTATIONS": 4,
            "REPEATS": 1,
        }
        | {"RANDOM_SEEDS": 2, "TRANSPLANTED": 4, "LAYERS": LAYERS[backbone], "MOST_CONSTANT": 1.0},
    }


def results(commit: str, backbone: str, folder: Path) -> dict[str, bytes]:
    """Check out a commit, run its notebooks, and read what they write."""
    tree, root = folder / f"{commit}-tree", folder / f"{commit}-results"
    if not tree.exists():
        subprocess.run(["git", "worktree", "add", "--detach", tree, commit], cwd=ROOT, check=True)
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    for name, chosen in parameters(backbone).items():
        chosen = {"BACKBONE": backbone, "RESULTS": str(root), **chosen}
        print(f"{commit}: {name}", flush=True)
        command = [sys.executable, "-c", EXECUTE, f"{name}.ipynb", json.dumps(chosen)]
        log = folder / f"{commit}-{name}.log"
        with open(log, "w") as file:
            done = subprocess.run(command, cwd=tree, env=environment, stdout=file, stderr=file)
        if done.returncode:
            sys.exit(f"{name} failed at {commit}:\n{log.read_text()[-3000:]}")
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and ".work" not in path.parts:
            name = path.relative_to(root).as_posix()
            found[name] = path.read_bytes()
            if path.name == "run.json":
                found[name] = json.dumps(json.loads(found[name])["verdicts"], indent=1).encode()
    return found


def main() -> None:
    """Print which files differ; the exit code says whether any does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commits", nargs=2)
    parser.add_argument("--backbone", default="densenet121", choices=LAYERS)
    parser.add_argument("--keep", type=Path, help="folder that keeps work trees and results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            one, other = (results(c, arguments.backbone, folder) for c in arguments.commits)
        finally:
            if not arguments.keep:
                for tree in folder.glob("*-tree"):
                    subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT)
    differing = sorted(name for name in one | other if one.get(name) != other.get(name))
    for name in differing:
        kind = "differs" if name in one and name in other else "only at one of both"
        print(f"{name}: {kind}")
    print(f"{len(one)} and {len(other)} files, {len(differing)} differ")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
