from dataclasses import replace

import h5py
import numpy as np
import pytest

from utils.networks import layer_features, load_features, store_features


@pytest.fixture
def patches(colored_patches):
    positions = np.stack([np.arange(64) * 16, np.arange(64) // 8], axis=1)
    sources = np.array([f"slide{i // 32}.svs" for i in range(64)])
    return replace(colored_patches, positions=positions, sources=sources)


def _write(path, x, coordinates):
    with h5py.File(path, "w") as file:
        file["features"], file["coords"] = x, coordinates


def test_rows_are_found_by_slide_and_coordinates(patches, tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    order = np.random.default_rng(1).permutation(32)
    for number, rows in enumerate((np.arange(32)[order], 32 + order)):
        path = tmp_path / "uni" / f"slide{number}.h5"
        path.parent.mkdir(exist_ok=True)
        values = x[rows][None] if number else x[rows]  # with a leading axis, and without
        _write(path, values, patches.positions[rows])
    features = load_features(tmp_path / "uni", patches)
    np.testing.assert_array_equal(features["uni"], x)
    one = patches.select(np.arange(32))
    np.testing.assert_array_equal(
        load_features(tmp_path / "uni" / "slide0.h5", one)["slide0"], x[:32]
    )
    moved = replace(patches, positions=patches.positions + 1)
    with pytest.raises(ValueError, match=r"no features of 64 of 64 patches, such as at \('slide0'"):
        load_features(tmp_path / "uni", moved)


def test_layers_of_an_archive(patches, tmp_path):
    layers = {"block 3": np.ones((64, 2)), "block 9": np.zeros((64, 7))}
    np.savez(tmp_path / "layers.npz", **layers)
    features = load_features(tmp_path / "layers.npz", patches)
    assert features.keys() == layers.keys() and features["block 9"].shape == (64, 7)
    with pytest.raises(
        ValueError, match=r"block 3 has the shape \(64, 2\); expected .* 10 patches"
    ):
        load_features(tmp_path / "layers.npz", patches.select(np.arange(10)))
    layers["block 9"][3] = np.nan
    np.savez(tmp_path / "layers.npz", **layers)
    with pytest.raises(ValueError, match=r"block 9 has values that are no numbers, in rows \[3\]"):
        load_features(tmp_path / "layers.npz", patches)


def test_files_that_hold_no_features(patches, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no .h5 files"):
        load_features(tmp_path, patches)
    with h5py.File(tmp_path / "slide0.h5", "w") as file:
        file["features"] = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"slide0.h5 has no \['coords'\], but \['features'\]"):
        load_features(tmp_path, patches)
    _write(tmp_path / "slide0.h5", np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="2 rows of features, but 3 coordinates"):
        load_features(tmp_path, patches)


def test_stored_features_are_those_of_the_network(tiny_model, colored_patches, tmp_path):
    patches, path = colored_patches, tmp_path / "features.h5"
    object.__setattr__(tiny_model, "sha256", "test")
    store_features(tiny_model, patches, path, batch_size=4)
    expected = layer_features(tiny_model, patches.images, batch_size=4)
    stored = load_features(path, patches)
    assert stored.keys() == expected.keys()
    for layer, x in expected.items():
        np.testing.assert_array_equal(stored[layer], x)
    assert load_features(path, patches, layers=["late"]).keys() == {"late"}
    with pytest.raises(ValueError, match=r"no layers \['none'\]; it has"):
        load_features(path, patches, layers=["none"])
    with pytest.raises(ValueError, match="features of other patches"):
        load_features(path, patches.select(np.arange(9)))
    before = path.stat().st_mtime_ns
    store_features(tiny_model, patches, path, batch_size=4)
    assert path.stat().st_mtime_ns == before
    store_features(tiny_model, patches, path, layers=["late"])
    assert load_features(path, patches).keys() == {"late"}
    assert [file.name for file in tmp_path.iterdir()] == ["features.h5"]
