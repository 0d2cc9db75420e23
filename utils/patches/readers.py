"""One call for every source of patches."""

from pathlib import Path

from utils.patches.folders import load_folder
from utils.patches.hdf5 import is_patchcamelyon, load_hdf5, load_patchcamelyon
from utils.patches.patchset import PatchSet
from utils.patches.sample import load_sample


def load_patches(
    source: str | Path = "sample", *, per_class: int | None = None, seed: int = 0
) -> PatchSet:
    """Read patches from wherever they are.

    Parameters
    ----------
    source : str or Path
        ``sample``, a folder of class folders, an HDF5 file of the paper's layout, or the file
        ``..._x.h5`` of PatchCamelyon, beside which ``..._y.h5`` and ``..._meta.csv`` are looked
        for.
    per_class : int, optional
        Maximum number of patches of each class; by default all.
    seed : int
        Seed of the draw.

    Returns
    -------
    PatchSet
    """
    if source == "sample":
        patches = load_sample()
        return patches if per_class is None else patches.sample(per_class, seed=seed)
    if Path(source).is_dir():
        return load_folder(source, per_class=per_class, seed=seed)
    load = load_patchcamelyon if is_patchcamelyon(source) else load_hdf5
    return load(source, per_class=per_class, seed=seed)
