import h5py
import numpy as np
import pytest

from utils.patches import load_folder, load_hdf5, load_patches


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
