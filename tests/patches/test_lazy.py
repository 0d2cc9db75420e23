from dataclasses import replace

import h5py
import numpy as np
import pytest

from utils.networks import layer_features
from utils.patches import PatchSet
from utils.patches.lazy import LazyImages


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def lazy(tmp_path, pixels):
    file = h5py.File(tmp_path / "patches.h5", "w")
    sources = file.create_dataset("a", data=pixels[:7]), file.create_dataset("b", data=pixels[7:])
    yield LazyImages(sources, np.arange(20))
    file.close()


@pytest.mark.parametrize(
    "key",
    [
        3,
        -1,
        slice(2, 9),
        slice(None),
        [5, 1, 5, 19],
        np.arange(20) % 3 == 0,
        (..., 0),
        np.array([], int),
    ],
)
def test_an_index_reads_what_it_would_of_an_array(lazy, pixels, key):
    np.testing.assert_array_equal(lazy[key], pixels[key])
    assert lazy.shape == pixels.shape and lazy.dtype == np.uint8 and len(lazy) == 20


def test_arithmetic_is_that_of_the_pixels(lazy, pixels):
    np.testing.assert_array_equal(lazy == pixels[0], pixels == pixels[0])
    np.testing.assert_array_equal(lazy / 2, pixels / 2)


def test_selections_stay_on_disk(lazy, pixels):
    chosen = lazy.select(np.array([12, 3, 8])).select(np.array([True, False, True]))
    assert isinstance(chosen, LazyImages)
    np.testing.assert_array_equal(np.asarray(chosen), pixels[[12, 8]])
    assert [image.sum() for image in chosen] == [pixels[12].sum(), pixels[8].sum()]


def test_patches_of_files_are_used_as_those_in_memory(lazy, pixels, tiny_model):
    labels, names = np.arange(20) % 2, np.array([f"slide{i // 4}" for i in range(20)])
    patches = PatchSet(lazy, labels, names, names, np.full((20, 2), -1))
    few = patches.sample(3, seed=1)
    assert isinstance(few.images, LazyImages) and not isinstance(few.load().images, LazyImages)
    in_memory = replace(patches, images=pixels)
    for one, other in zip(patches.folds(2), in_memory.folds(2), strict=True):
        assert isinstance(one[0].images, LazyImages)
        np.testing.assert_array_equal(np.asarray(one[1].images), other[1].images)
    features, expected = (layer_features(tiny_model, x, batch_size=8) for x in (lazy, pixels))
    np.testing.assert_array_equal(features["late"], expected["late"])


def test_memory_maps_are_wrapped(tmp_path, pixels):
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    names = np.array(["slide"] * 20)
    patches = PatchSet(mapped, np.arange(20) % 2, names, names, np.full((20, 2), -1))
    assert isinstance(patches.select([1, 2]).images, LazyImages)
    np.testing.assert_array_equal(np.asarray(patches.images), pixels)


def test_hash_is_of_file_and_rows(lazy, tmp_path, pixels):
    first = lazy.select(np.array([1, 2]))
    assert first.identity == lazy.select(np.array([1, 2])).identity
    assert first.identity != lazy.select(np.array([2, 1])).identity
    paths = [tmp_path / name for name in ("one.h5", "same.h5", "other.h5")]
    for path, change in zip(paths, (0, 0, 1), strict=True):
        with h5py.File(path, "w") as file:
            file["x"] = pixels ^ np.uint8(change)
    files = [h5py.File(path) for path in paths]
    one, same, other = (LazyImages((file["x"],), np.arange(20)).identity for file in files)
    assert one == same != other
    names = np.array(["slide"] * 20)
    arrays = np.arange(20) % 2, names, names, np.full((20, 2), -1)
    hashes = [PatchSet(file["x"], *arrays).sha256 for file in files]
    assert hashes[0] == hashes[1] != hashes[2]
