import tracemalloc

import cv2
import h5py
import numpy as np
import pytest

from utils.patches import READERS, Reader, load_folder, load_hdf5, load_patchcamelyon, load_patches


def test_folder(tmp_path):
    for name, value in (("normal", 40), ("tumor", 220)):
        for patient in range(2):
            (tmp_path / name / f"p{patient}").mkdir(parents=True)
            for i in range(2):
                image = np.full((20, 20, 3), (value, 0, 0), np.uint8)  # blue, as OpenCV writes it
                cv2.imwrite(str(tmp_path / name / f"p{patient}" / f"{i}.png"), image)
    patches = load_patches(tmp_path)
    assert patches.labels.tolist() == [0] * 4 + [1] * 4 and set(patches.groups) == {"p0", "p1"}
    assert (patches.images[0, 0, 0] == [0, 0, 40]).all()
    assert load_folder(tmp_path, patch_size=10).images.shape == (8, 10, 10, 3)
    cv2.imwrite(str(tmp_path / "tumor" / "p1" / "z.png"), np.zeros((9, 20, 3), np.uint8))
    with pytest.raises(ValueError, match=r"z.png has shape \(9, 20, 3\), not .* give patch_size"):
        load_folder(tmp_path)
    (tmp_path / "tumor" / "p1" / "z.png").write_text("no image")
    with pytest.raises(ValueError, match="z.png cannot be read"):
        load_folder(tmp_path)


def test_folder_with_other_classes_and_groups(tmp_path):
    for name in ("benign", "malignant"):
        (tmp_path / name).mkdir()
        for file in ("slide1_0.png", "slide1_1.png", "slide2_0.png", "other.png"):
            cv2.imwrite(str(tmp_path / name / file), np.zeros((20, 20, 3), np.uint8))
    names = ("malignant", "benign")
    patches = load_folder(tmp_path, class_names=names, group_pattern=r"(slide\d+)_")
    assert patches.class_names == names and "4 malignant, 4 benign" in repr(patches)
    assert patches.sources[0].startswith("malignant/") and patches.labels[0] == 0
    assert patches.groups.tolist() == [tmp_path.name, "slide1", "slide1", "slide2"] * 2
    assert patches.select([0, 5]).class_names == names
    assert set(load_folder(tmp_path, class_names=names).groups) == {tmp_path.name}


def test_files_that_are_not_patches(tmp_path):
    with pytest.raises(ValueError, match="normal has no images .* holds nothing.*normal, tumor"):
        load_folder(tmp_path)
    (tmp_path / "benign").mkdir()
    with pytest.raises(ValueError, match=r"\['benign'\].* or give class_names"):
        load_folder(tmp_path)
    (tmp_path / "benign").rmdir()
    with pytest.raises(FileNotFoundError, match="none.h5"):
        load_patches(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        load_hdf5(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images/train"] = np.zeros(3)
    with pytest.raises(ValueError, match="normal/level7.*images"):
        load_hdf5(tmp_path / "other.h5")


def test_patchcamelyon_is_read_from_its_one_file(tmp_path):
    """As the notebooks' PATCHES names it: labels and slides lie beside it."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (20, 96, 96, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "camelyon_x.h5", "w") as x:
        x["x"] = pixels
    with pytest.raises(FileNotFoundError, match="camelyon_y.h5"):
        load_patches(tmp_path / "camelyon_x.h5")
    with h5py.File(tmp_path / "camelyon_y.h5", "w") as y:
        y["y"] = np.arange(20).reshape(-1, 1, 1, 1) % 2
    alone = load_patches(tmp_path / "camelyon_x.h5")
    assert set(alone.groups) == {"camelyon_x"} and (alone.images == pixels).all()
    with pytest.raises(ValueError, match="number of groups: 1"):
        alone.folds()
    rows = "\n".join(f"slide{i // 4},{i},{2 * i}" for i in range(20))
    (tmp_path / "camelyon_meta.csv").write_text(f"wsi,coord_x,coord_y\n{rows}")
    few = load_patches(str(tmp_path / "camelyon_x.h5"), per_class=5, seed=1)
    assert np.bincount(few.labels).tolist() == [5, 5]
    assert set(few.groups) <= {f"slide{i}" for i in range(5)} and len(set(few.groups)) > 1
    x, y = few.positions.T
    assert (2 * x == y).all() and (few.images == pixels[x]).all()
    (tmp_path / "camelyon_meta.csv").write_text("slide\n1")
    with pytest.raises(ValueError, match="1 rows .*'slide'.* expected 20 rows"):
        load_patchcamelyon(tmp_path / "camelyon_x.h5")
    with h5py.File(tmp_path / "camelyon_y.h5", "w") as y:
        y["labels"] = np.zeros(20)
    with pytest.raises(ValueError, match="no dataset 'y'.*'labels'"):
        load_patchcamelyon(tmp_path / "camelyon_x.h5")


def test_patchcamelyon_of_other_file_names(tmp_path):
    files = tmp_path / "pixels.h5", tmp_path / "truth.h5"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 96, 96, 3), dtype=np.uint8)
    with h5py.File(files[0], "w") as x, h5py.File(files[1], "w") as y:
        x["x"], y["y"] = pixels, np.arange(20).reshape(-1, 1, 1, 1) % 2
    (tmp_path / "slides.csv").write_text("wsi\n" + "\n".join(f"slide{i // 4}" for i in range(20)))
    patches = load_patchcamelyon(*files, metadata=tmp_path / "slides.csv", per_class=5)
    assert len(patches) == 10 and len(set(patches.groups)) > 1 and (patches.positions == -1).all()
    assert set(load_patchcamelyon(*files).groups) == {"pixels"}
    with pytest.raises(FileNotFoundError, match="none.csv"):
        load_patchcamelyon(*files, metadata=tmp_path / "none.csv")


def test_unknown_sources_and_options_list_the_known_ones(tmp_path, monkeypatch, sample):
    (tmp_path / "slide.txt").write_text("text")
    with pytest.raises(ValueError, match=r"slide.txt .*'sample'; a slide; .*PatchCamelyon.*paper"):
        load_patches(tmp_path / "slide.txt")
    with pytest.raises(TypeError, match="strides"):
        load_patches("sample", sample_options={"strides": 3})
    reader = Reader("a text", lambda source: source.suffix == ".txt", lambda *_, **__: sample)
    monkeypatch.setattr("utils.patches.readers.READERS", [*READERS, reader])
    assert load_patches(tmp_path / "slide.txt", sample_options={"stride": 75}) is sample


def test_options_of_the_sample():
    patches = load_patches("sample", per_class=5, sample_options={"patch_size": 299, "stride": 76})
    assert patches.images.shape == (10, 299, 299, 3)
    options = {"patch_size": 299, "stride": 76, "per_class": None}
    assert len(load_patches("sample", per_class=5, sample_options=options)) > 10


def _write_camelyon(path, level=7):
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, value in (("normal", 50), ("tumor", 200)):
            for patient in range(3):
                node = file.create_group(f"{name}/level{level}/centre0/patient{patient}/node1")
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


def test_camelyon_of_another_level_or_several_shapes(tmp_path):
    path = tmp_path / "camelyon.h5"
    _write_camelyon(path, level=5)
    assert len(load_hdf5(path, level=5)) == 24
    with pytest.raises(ValueError, match="no normal/level7"):
        load_hdf5(path)
    with h5py.File(path, "a") as file:
        file["tumor/level5/centre0/patient9/node1/patches"] = np.ones((2, 9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match=r"several shapes.*\(9, 9, 3\)"):
        load_hdf5(path, level=5)


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


def test_empty_nodes_are_left_out(tmp_path):
    path = tmp_path / "camelyon.h5"
    _write_camelyon(path)
    with h5py.File(path, "a") as file:
        node = file.create_group("normal/level7/centre0/patient9/node1")
        node["patches"] = np.zeros((0, 24, 24, 3), np.uint8)
    assert len(load_hdf5(path)) == 24
