import tracemalloc

import h5py
import numpy as np
import pytest

from utils.patches import load_hdf5, load_patchcamelyon, load_patches


def _write_camelyon(path):
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, value in (("normal", 50), ("tumor", 200)):
            for patient in range(3):
                node = file.create_group(f"{name}/level7/centre0/patient{patient}/node1")
                pixels = np.full((4, 24, 24, 3), value) + np.arange(4)[:, None, None, None]
                node["patches"] = pixels.astype(np.uint8)
                node["locations"] = generator.integers(0, 1000, (4, 2))


def test_camelyon_layout(tmp_path):
    path = tmp_path / "camelyon.h5"
    _write_camelyon(path)
    patches = load_hdf5(path)
    assert len(patches) == 24 and set(patches.groups) == {f"centre0/patient{i}" for i in range(3)}
    assert (patches.images[patches.labels == 1] >= 200).all()
    few = load_patches(path, per_class=5, seed=1)
    assert np.bincount(few.labels).tolist() == [5, 5]
    again = load_patches(path, per_class=5, seed=1)
    assert few.sha256 == again.sha256 != load_patches(path, per_class=5, seed=2).sha256
    with h5py.File(path) as file:
        node = file["tumor/level7/centre0/patient2/node1"]
        where = np.flatnonzero((few.labels == 1) & (few.groups == "centre0/patient2"))
        for i in where:
            row = np.flatnonzero((node["locations"][:] == few.positions[i]).all(axis=1))
            assert (node["patches"][row[0]] == few.images[i]).all()


def test_sampling_a_large_file_reads_little(tmp_path):
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        for name in ("normal", "tumor"):  # 5.6 GB when read whole; chunks never written are zeros
            node = file.create_group(f"{name}/level7/centre0/patient0/node0")
            node.create_dataset(
                "patches", (100_000, 96, 96, 3), np.uint8, chunks=(1, 96, 96, 3), fillvalue=7
            )
    tracemalloc.start()
    patches = load_hdf5(path, per_class=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(patches) == 1000 and (patches.images == 7).all()
    assert peak < 200e6


def test_patchcamelyon(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 96, 96, 3), dtype=np.uint8)
    truth = np.arange(20) % 2
    with h5py.File(tmp_path / "x.h5", "w") as x, h5py.File(tmp_path / "y.h5", "w") as y:
        x["x"], y["y"] = pixels, truth.reshape(-1, 1, 1, 1)
    (tmp_path / "slides.csv").write_text("wsi\n" + "\n".join(f"slide{i // 4}" for i in range(20)))
    files = tmp_path / "x.h5", tmp_path / "y.h5"
    patches = load_patchcamelyon(*files, metadata=tmp_path / "slides.csv", per_class=5)
    assert len(patches) == 10 and len(set(patches.groups)) > 1
    assert len(load_patchcamelyon(*files)) == 20
    with pytest.raises(ValueError, match="needs as many groups"):
        load_patchcamelyon(*files).split()
    with pytest.raises(ValueError, match="no dataset 'y'"):
        load_patchcamelyon(files[0], files[0])


def test_empty_nodes_are_left_out(tmp_path):
    path = tmp_path / "camelyon.h5"
    _write_camelyon(path)
    with h5py.File(path, "a") as file:
        node = file.create_group("normal/level7/centre0/patient9/node1")
        node["patches"] = np.zeros((0, 24, 24, 3), np.uint8)
    assert len(load_hdf5(path)) == 24
