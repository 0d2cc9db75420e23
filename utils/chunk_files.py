"""Arrays of many chunks, kept beside the file that they become, so that a killed run goes on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from utils.cluster import map_chunks
from utils.files import whole_file

_CHUNK_BYTES = 1 << 16  # that HDF5 reads at once, so that an image is read alone
KEY = "key"  # attribute of an HDF5 file: hash of what it was made from


def kept_chunks(
    folder: Path,
    function: Callable[..., Mapping[str, np.ndarray]],
    chunks: Sequence[tuple[str, Callable[[], tuple]]],
    *,
    shared: Sequence = (),
    **bar: Any,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the arrays that a function returns of each chunk, in the order of the chunks.

    All are computed first, here or by workers, each kept in a file of the folder; those that an
    earlier run kept are not computed again. One chunk's arrays are in memory at a time.

    Parameters
    ----------
    folder : Path
        Named by all that the arrays depend on; the caller removes it.
    function : callable
        Called as ``function(*shared, *arguments)``; returns arrays, (n, ...), by name.
    chunks : sequence of (str, callable)
        Names, and what returns the arguments of a chunk that is not kept.
    shared, **bar
        As of `map_chunks`.

    Yields
    ------
    dict of str to array
    """
    files = {name: folder / f"{name}.npz" for name, _ in chunks}
    missing = [(name, make) for name, make in chunks if not files[name].exists()]
    arguments = ((name, make()) for name, make in missing)
    options = {"total": len(chunks), "initial": len(chunks) - len(missing), **bar}
    for name, arrays in map_chunks(function, arguments, shared=shared, **options):
        with whole_file(files[name]) as scratch, open(scratch, "wb") as file:
            np.savez(file, **arrays)
    for path in files.values():
        with np.load(path) as arrays:
            yield dict(arrays)


def append_rows(group: h5py.Group, arrays: Mapping[str, np.ndarray]) -> None:
    """Append arrays, (n, ...), to the datasets of their names, which are made where missing."""
    for name, array in arrays.items():
        if name not in group:
            row = max(1, array[:1].nbytes)
            chunks = (max(1, _CHUNK_BYTES // row), *array.shape[1:])
            options = {"maxshape": (None, *array.shape[1:]), "chunks": chunks}
            group.create_dataset(name, (0, *array.shape[1:]), array.dtype, **options)
        dataset = group[name]
        start = len(dataset)
        dataset.resize(start + len(array), axis=0)
        dataset[start:] = array


def is_made_from(path: Path, key: str) -> bool:
    """Whether a file exists and has this key; raise ValueError if it is no HDF5 file."""
    if not path.exists():
        return False
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} exists, and is no HDF5 file: remove it, or give another path.")
    with h5py.File(path) as file:
        return file.attrs.get(KEY) == key
