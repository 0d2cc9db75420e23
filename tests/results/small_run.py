"""A small run of real parts without TensorFlow, to be killed, starved and run twice at once."""

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from utils.patches import PatchSet
from utils.patches.images import haematoxylin
from utils.results import Run, figures
from utils.results.record import WORK

PARTS = 2
KILLS = 20


def execute(root: str, seed: int) -> None:
    """Measure the stain of random patches and draw it, in several steps and folders."""
    figures.use_style()
    generator = np.random.default_rng(seed)
    run = Run("small.ipynb", root, {"SEED": seed})
    backbone = SimpleNamespace(name="tiny", title="Tiny")
    network = SimpleNamespace(backbone=backbone, origin="nowhere", sha256="0", unsound_layers=())
    for part in range(PARTS):
        pixels = generator.integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
        labels, names = np.arange(60) % 2, np.array([f"region {i % 6}" for i in range(60)])
        patches = PatchSet(pixels, labels, names, names, np.zeros((60, 2)))
        run.uses({"pretrained": network}, patches)
        chosen = run.once(patches.sample_indices, 20)
        density = haematoxylin(pixels[chosen]).reshape(len(chosen), -1)
        stain = pd.DataFrame({"mean": density.mean(axis=1), "deviation": density.std(axis=1)})
        results = run.results(f"part{part % 2}")
        drawn = figures.measures_overview(stain, labels[chosen], patches.class_names)
        results.figure(drawn, f"{part}/stain.png", "stain by class")
        results.table(stain, f"{part}/stain.csv", "stain")
        for index in range(10 + seed):  # so that the two seeds have not the same files
            results.image(pixels[index], f"{part}/patch_{index}.png", "a patch", layer="input")
    run.finish()


def files(root: str) -> dict[str, bytes]:
    """Read all results but their records, by path."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and WORK not in path.parts:
            found[name] = path.read_bytes()
            if path.name == "run.json":
                json.loads(found.pop(name))  # whole
    return found


def _fork(root: str, seed: int, limit: int | None = None) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        if limit:
            sys.stderr = open(f"{root}.error", "w", buffering=1)  # noqa: SIM115
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        execute(root, seed)
        code = 0
    except OSError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        os._exit(code)


def kill(folder: str) -> None:
    """Kill a run at random points, again and again; then let it end."""
    undisturbed, root = f"{folder}/undisturbed", f"{folder}/killed"
    begun = time.monotonic()
    os.waitpid(_fork(undisturbed, 1), 0)
    seconds = time.monotonic() - begun
    os.waitpid(_fork(root, 0), 0)  # older results, with other parameters
    old, new = files(root), files(undisturbed)
    whole = {name: {old.get(name), new.get(name)} for name in old | new}
    generator, kills, tries = random.Random(0), 0, 0
    while kills < KILLS and tries < 10 * KILLS:
        tries += 1
        child = _fork(root, 1)
        delay = generator.uniform(0, 0.9 * seconds)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            continue
        kills += 1
        broken = [name for name, data in files(root).items() if data not in whole[name]]
        steps = len(list(Path(root, WORK, "steps").rglob("output.pkl")))
        print(f"kill {kills} after {delay:.2f} s: {steps} steps kept, {len(broken)} broken files")
        if broken:
            sys.exit(f"broken: {broken}")
    status = os.waitpid(_fork(root, 1), 0)[1]
    same = files(root) == new
    left = [path.name for path in Path(root, WORK).glob(".*")]
    print(f"kills: {kills}; last run: {status}; same bytes as undisturbed: {same}; left: {left}")


def twice(folder: str) -> None:
    """Run with two seeds at once: the folder must be that of one of them."""
    wanted = []
    for seed in (0, 1):
        os.waitpid(_fork(f"{folder}/alone{seed}", seed), 0)
        wanted.append(files(f"{folder}/alone{seed}"))
    for _ in range(2):
        children = [_fork(f"{folder}/both", seed) for seed in (0, 1, 1)]
        codes = [os.waitpid(child, 0)[1] for child in children]
        print(f"exit codes {codes}; one whole run: {files(f'{folder}/both') in wanted}")


def starve(folder: str) -> None:
    """Run with no space for a figure: the older results must stay."""
    root = f"{folder}/full"
    os.waitpid(_fork(root, 0), 0)
    old = files(root)
    code = os.waitstatus_to_exitcode(os.waitpid(_fork(root, 1, limit=20_000), 0)[1])
    print(f"exit code {code}; old results kept: {files(root) == old}")
    print(Path(f"{root}.error").read_text())


if __name__ == "__main__":
    {"kill": kill, "twice": twice, "starve": starve}[sys.argv[1]](sys.argv[2])
