import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from utils import assets

ROOT = Path(__file__).resolve().parent.parent


def test_members_are_the_real_ones(tmp_path, monkeypatch):
    monkeypatch.setenv(assets.CACHE_VARIABLE, str(tmp_path))
    types = assets.path("hgsc", "hgsc_nest_type_mask.npz")
    assert types.is_relative_to(tmp_path)
    assert np.load(types)["nuc_raster"].shape == (1500, 1500)
    (types.parent / "hgsc_nest.jpg").unlink()
    assert assets.path("hgsc", "hgsc_nest.jpg").stat().st_size > 1e6
    assert "BSD 3-Clause" in (types.parent / "LICENSE").read_text()
    assert "histolytics" not in sys.modules


def test_wrong_hash_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(assets.CACHE_VARIABLE, str(tmp_path))
    pins = tmp_path / "assets.txt"
    pins.write_text(f"histolytics==0.3.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(assets, "REQUIREMENTS", pins)
    with pytest.raises(assets.AssetError, match="DO NOT MATCH THE HASHES"):
        assets.path("hgsc", "hgsc_nest.jpg")
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == ["assets.txt"]


def test_no_index_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv(assets.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(assets.AssetError, match=f"mirror.*{assets.CACHE_VARIABLE}"):
        assets.path("hgsc", "hgsc_nest.jpg")
    assert all(p.suffix == ".lock" for p in tmp_path.iterdir())


def test_unwritable_cache_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(assets.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(assets.AssetError, match=assets.CACHE_VARIABLE):
        assets.path("hgsc", "hgsc_nest.jpg")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk")
def test_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        monkeypatch.setenv(assets.CACHE_VARIABLE, str(disk))
        with pytest.raises(assets.AssetError, match="No space left|disk is full"):
            assets.path("densenet", "model.weights.h5")
        assert all(p.suffix == ".lock" for p in disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_processes_at_once(tmp_path):
    code = "from utils import assets; print(assets.path('densenet', 'model.weights.h5'))"
    environment = {**os.environ, assets.CACHE_VARIABLE: str(tmp_path), "PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    paths = {run.communicate(timeout=120)[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert len(paths) == 1 and Path(paths.pop()).stat().st_size > 2e7
    folders = [p for p in tmp_path.iterdir() if p.suffix != ".lock"]
    assert len(folders) == 1
