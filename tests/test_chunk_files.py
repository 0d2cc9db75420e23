"""Chunks that are kept beside a file: the same bytes, whenever the process is killed."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from utils.chunk_files import KEY, append_rows, is_made_from, kept_chunks
from utils.cluster import ChunksFailed

ROOT = Path(__file__).parent.parent


def test_only_missing_chunks_are_computed(tmp_path):
    computed, asked = [], []

    def rows(factor, number):
        computed.append(number)
        if number == 2 and len(computed) < 5:
            raise ValueError("not yet")
        return {"x": np.full((number, 3), factor * number)}

    def arguments(number):
        asked.append(number)
        return (number,)

    chunks = [(str(n), partial(arguments, n)) for n in range(4)]
    with pytest.raises(ChunksFailed, match="1 failed: 2: not yet"):
        list(kept_chunks(tmp_path / "kept", rows, chunks, shared=(10,)))
    arrays = list(kept_chunks(tmp_path / "kept", rows, chunks, shared=(10,)))
    assert computed == asked == [0, 1, 2, 3, 2]
    x = np.concatenate([chunk["x"] for chunk in arrays])
    np.testing.assert_array_equal(x, np.repeat([10, 20, 30], [1, 2, 3])[:, None] * np.ones(3))


def test_rows_are_appended(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (7, 150, 150, 3), np.uint8)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        for start in (0, 3, 5):
            stop = {0: 3, 3: 5, 5: 7}[start]
            append_rows(file, {"images": images[start:stop], "number": np.arange(start, stop)})
        np.testing.assert_array_equal(file["images"], images)
        np.testing.assert_array_equal(file["number"], np.arange(7))
        assert file["images"].chunks[0] == 1  # read one by one
        file.attrs[KEY] = "this"
    assert is_made_from(tmp_path / "rows.h5", "this")
    assert not is_made_from(tmp_path / "rows.h5", "other")
    assert not is_made_from(tmp_path / "none.h5", "this")


def test_a_killed_command_goes_on_to_the_same_bytes(slides, tmp_path):
    """SIGKILL of the real process after 2 and 9 of its chunks."""

    def start(name):
        path = tmp_path / name
        arguments = ["slides", slides, "--size", "32", "--stride", "24", "--out", path]
        command = [sys.executable, "-m", "utils.patches", *map(str, arguments)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return path, subprocess.Popen(command, cwd=ROOT, env=environment, **quiet)

    whole, process = start("whole.h5")
    assert process.wait(timeout=120) == 0
    for count in (2, 9):
        path, process = start("killed.h5")
        while process.poll() is None and len(list(tmp_path.glob(".killed.h5.*/*.npz"))) < count:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and not path.exists()
    path, process = start("killed.h5")
    assert process.wait(timeout=120) == 0
    assert path.read_bytes() == whole.read_bytes()
    names = {f"{name}{end}" for name in ("whole", "killed") for end in (".h5", "_slides")}
    assert {path.name for path in tmp_path.iterdir()} == names
