"""One call for every source of patches."""

from pathlib import Path

from utils.patches.folders import load_folder
from utils.patches.hdf5 import load_hdf5
from utils.patches.patchset import PatchSet
from utils.patches.sample import load_sample


def load_patches(
    source: str | Path = "sample", *, per_class: int | None = None, seed: int = 0
) -> PatchSet:
    """Read ``sample``, a folder of images, or an HDF5 file of the paper's layout.

    Parameters
    ----------
    source : str or Path
    per_class, seed
        Draw at most this many patches of each class.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    """
    if source == "sample":
        patches = load_sample()
        return patches if per_class is None else patches.sample(per_class, seed=seed)
    if Path(source).is_dir():
        return load_folder(source, per_class=per_class, seed=seed)
    return load_hdf5(source, per_class=per_class, seed=seed)
