import tracemalloc

import cv2
import h5py
import numpy as np
import pytest

from utils.patches import (
    NEOPLASTIC,
    UNANNOTATED,
    PatchSet,
    check_disjoint,
    load_folder,
    load_hdf5,
    load_patchcamelyon,
    load_patches,
    load_sample,
)


def test_sample_labels_follow_the_masks(sample):
    assert sample.images.dtype == np.uint8 and sample.images.shape[1:] == (150, 150, 3)
    assert np.bincount(sample.labels).min() > 100
    masked = sample.sources == "hgsc_nest"
    for label, mask in zip(sample.labels[masked], sample.masks[masked], strict=True):
        neoplastic, nuclei = np.sum(mask == NEOPLASTIC), np.sum(mask > 0)
        assert neoplastic >= nuclei / 2 if label else neoplastic == 0 < nuclei
    assert (sample.masks[~masked] == UNANNOTATED).all() and (sample.labels[~masked] == 0).all()


def test_sample_leaves_out_neoplastic_stroma_and_empty_patches(sample):
    stroma = sample.positions[sample.sources == "hgsc_stromal_he"]
    x, y = stroma.T
    assert not ((x < 1419) & (x + 150 > 1316) & (y < 934) & (y + 150 > 715)).any()
    assert (sample.images.min(axis=-1) > 200).mean(axis=(1, 2)).max() <= 0.5


def test_sample_options():
    large = load_sample(patch_size=299, stride=76)
    assert large.images.shape[1:] == (299, 299, 3)
    strict = load_sample(stride=75, tumor_share=0.9)
    assert 0 < strict.labels.sum() < load_sample(stride=75).labels.sum()
    with pytest.raises(ValueError, match="patch_size=400"):
        load_sample(patch_size=400)


@pytest.mark.parametrize("seed", range(3))
def test_splits_share_neither_groups_nor_pixels(sample, seed):
    train, test = sample.split(seed=seed)
    assert len(train) + len(test) == len(sample)
    assert not set(train.groups) & set(test.groups)
    for source in set(train.sources) & set(test.sources):
        used = np.zeros((1500, 1500), bool)
        for x, y in train.positions[train.sources == source]:
            used[y : y + 150, x : x + 150] = True
        for x, y in test.positions[test.sources == source]:
            assert not used[y : y + 150, x : x + 150].any()
    assert set(np.unique(test.labels)) == {0, 1}


def test_overlaps_and_too_few_groups_are_refused(sample):
    one = sample.select(np.arange(4))
    other = PatchSet(
        one.images, one.labels, np.array(["b"] * 4), one.sources, one.positions + [149, 0]
    )
    with pytest.raises(ValueError, match="overlap"):
        check_disjoint(one, other)
    with pytest.raises(ValueError, match="3 folds needs"):
        sample.in_groups(sample.groups[:1]).split()
    with pytest.raises(ValueError, match="none of the groups"):
        sample.in_groups(["nowhere"])


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
    (tmp_path / "meta.csv").write_text("wsi\n" + "\n".join(f"slide{i // 4}" for i in range(20)))
    files = tmp_path / "x.h5", tmp_path / "y.h5"
    patches = load_patchcamelyon(*files, metadata=tmp_path / "meta.csv", per_class=5)
    assert len(patches) == 10 and len(set(patches.groups)) > 1
    assert len(load_patchcamelyon(*files)) == 20
    with pytest.raises(ValueError, match="needs as many groups"):
        load_patchcamelyon(*files).split()
    with pytest.raises(ValueError, match="no dataset 'y'"):
        load_patchcamelyon(files[0], files[0])


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
    with pytest.raises(ValueError, match="z.png is 9 x 20"):
        load_folder(tmp_path)
    (tmp_path / "tumor" / "p1" / "z.png").write_text("no image")
    with pytest.raises(ValueError, match="z.png cannot be read"):
        load_folder(tmp_path)


def test_files_that_are_not_patches(tmp_path):
    with pytest.raises(ValueError, match="has no images"):
        load_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="none.h5"):
        load_patches(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        load_hdf5(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images/train"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"normal/level7.*images/train"):
        load_hdf5(tmp_path / "other.h5")
