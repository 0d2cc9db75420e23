"""Features of patches that other tools computed, such as by foundation models."""

from pathlib import Path

import h5py
import numpy as np

from utils.patches import PatchSet

FEATURES, COORDINATES = "features", "coords"  # datasets of TRIDENT's and CLAM's files


def load_features(path: str | Path, patches: PatchSet) -> dict[str, np.ndarray]:
    """Read features of patches, so that concepts, CKA and probes run on them as on a layer.

    Parameters
    ----------
    path : str or Path
        One of: an ``.npz`` file with one array, (N, C), per layer, rows in the order of the
        patches; an HDF5 file of TRIDENT or CLAM (``features``, (M, C) or (1, M, C), and ``coords``,
        (M, 2), upper left corners); or a folder of such files, one per source, named as that
        (``slide.h5`` for the source ``slide`` or ``slide.svs``).
    patches : PatchSet
        N patches, whose positions are those of the coordinates.

    Returns
    -------
    dict of str to array, (N, C), float32
        By layer; HDF5 files have one, named after the file's or folder's name.
    """
    path = Path(path)
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            layers = {name: np.float32(array) for name, array in arrays.items()}
        for name, x in layers.items():
            _check(f"{path}, {name}", x, len(patches))
        return layers
    files = sorted(path.glob("*.h5")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path} has no .h5 files: give a folder of features by slide.")
    known: dict[tuple, np.ndarray] = {}
    for file in files:
        x, coordinates = _read(file)
        source = file.stem if path.is_dir() else ""
        known |= {(source, *place): row for place, row in zip(coordinates, x, strict=True)}
    sources = [Path(source).stem if path.is_dir() else "" for source in patches.sources]
    places = [
        (source, *position)
        for source, position in zip(sources, patches.positions.tolist(), strict=True)
    ]
    if missing := [place for place in places if place not in known]:
        raise ValueError(
            f"{path} has no features of {len(missing)} of {len(places)} patches, such as at "
            f"{missing[0]}: cut the patches at the coordinates of these files."
        )
    features = np.stack([known[place] for place in places])
    _check(str(path), features, len(patches))
    return {path.stem: features}


def _read(file: Path) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Read features, (M, C), and the corners of their patches."""
    with h5py.File(file) as content:
        if missing := [name for name in (FEATURES, COORDINATES) if name not in content]:
            raise ValueError(f"{file} has no {missing}, but {list(content)}.")
        x, coordinates = np.float32(content[FEATURES]), np.int64(content[COORDINATES])
    x = x.reshape(-1, x.shape[-1])  # some have a leading axis of one
    coordinates = coordinates.reshape(-1, 2)
    if len(x) != len(coordinates):
        raise ValueError(
            f"{file} has {len(x)} rows of features, but {len(coordinates)} coordinates."
        )
    return x, [tuple(place) for place in coordinates.tolist()]


def _check(name: str, x: np.ndarray, count: int) -> None:
    if x.ndim != 2 or len(x) != count:
        raise ValueError(f"{name} has the shape {x.shape}; expected one row for {count} patches.")
    if bad := np.flatnonzero(~np.isfinite(x).all(axis=1)).tolist():
        raise ValueError(f"{name} has values that are no numbers, in rows {bad[:5]}.")
