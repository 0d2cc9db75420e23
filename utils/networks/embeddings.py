"""Features in files: those that other tools computed, and those that do not fit in memory."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from utils.chunk_files import KEY, append_rows, is_made_from, kept_chunks
from utils.files import whole_file
from utils.networks.model import CHUNK, Model, of_chunk, pooled
from utils.patches import PatchSet
from utils.versions import code_sha256

FEATURES, COORDINATES = "features", "coords"  # datasets of TRIDENT's and CLAM's files
LAYERS, PATCHES = "layers", "patches"  # group, and attribute with the patches' hash, of our files


def store_features(
    model: Model,
    patches: PatchSet,
    path: str | Path,
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 32,
) -> None:
    """Compute `layer_features` of any number of patches into a file, which `load_features` reads.

    One chunk of patches is in memory at a time. A file of the same network, patches and layers is
    kept; a run that was killed goes on.

    Parameters
    ----------
    model : Model
    patches : PatchSet
        N patches, whose images may be on disk.
    path : str or Path
        HDF5 file with one dataset, (N, C) float32, per layer.
    layers : sequence of str, optional
        By default all analysis layers of the backbone.
    batch_size : int
    """
    path, layers = Path(path), list(layers or model.backbone.layers)
    model.check_spatial(layers)
    model.check_images(patches.images)
    made_from = (model.identity, patches.sha256, layers, code_sha256())
    key = hashlib.sha256(repr(made_from).encode()).hexdigest()
    if is_made_from(path, key):
        return
    folder, size = path.with_name(f".{path.name}.{key[:16]}"), CHUNK * batch_size

    def arguments(start: int) -> tuple:
        return (patches.select(np.arange(start, min(start + size, len(patches)))).images,)

    chunks = [(str(start), partial(arguments, start)) for start in range(0, len(patches), size)]
    options = {"shared": (model, pooled, layers, batch_size), "desc": f"features, {model.title}"}
    with whole_file(path) as scratch, h5py.File(scratch, "w") as file:
        for arrays in kept_chunks(folder, of_chunk, chunks, **options):
            append_rows(file.require_group(LAYERS), arrays)
        file.attrs.update({KEY: key, PATCHES: patches.sha256})
    shutil.rmtree(folder)


def load_features(
    path: str | Path, patches: PatchSet, *, layers: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Read features of patches, so that concepts, CKA and probes run on them as on a layer.

    Parameters
    ----------
    path : str or Path
        One of: a file of `store_features`; an ``.npz`` file with one array, (N, C), per layer,
        rows in the order of the patches; an HDF5 file of TRIDENT or CLAM (``features``, (M, C) or
        (1, M, C), and ``coords``, (M, 2), upper left corners); or a folder of such files, one per
        source, named as that (``slide.h5`` for the source ``slide`` or ``slide.svs``).
    patches : PatchSet
        N patches, whose positions are those of the coordinates.
    layers : sequence of str, optional
        Layers to read of a file that has several, by default all.

    Returns
    -------
    dict of str to array, (N, C), float32
        By layer; HDF5 files have one, named after the file's or folder's name.
    """
    path = Path(path)
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return _read_layers(path, arrays, layers, len(patches))
    if path.is_file() and h5py.is_hdf5(path):
        with h5py.File(path) as file:
            if LAYERS in file:
                if file.attrs.get(PATCHES) != patches.sha256:
                    raise ValueError(f"{path} has features of other patches: store them again.")
                return _read_layers(path, file[LAYERS], layers, len(patches))
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


def _read_layers(
    path: Path, arrays: Mapping, layers: Sequence[str] | None, count: int
) -> dict[str, np.ndarray]:
    """Read some arrays, (N, C), of a file by their names, or all."""
    if missing := [name for name in layers or () if name not in arrays]:
        raise ValueError(f"{path} has no layers {missing}; it has {list(arrays)}.")
    features = {name: np.float32(arrays[name]) for name in layers or arrays}
    for name, x in features.items():
        _check(f"{path}, {name}", x, count)
    return features


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
