"""Images that stay on disk, in HDF5 datasets or memory maps, until they are indexed."""

import functools
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import h5py
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from utils.files import file_sha256

UNREADABLE = "unreadable"  # name of what was said of images that cannot be read


@dataclass(frozen=True, eq=False)
class LazyImages(NDArrayOperatorsMixin):
    """Rows of arrays on disk, ``(N, H, W, 3)`` uint8; an index reads its rows, as an array."""

    # HDF5 datasets, memory maps, or anything with shape, dtype and identity; (n, H, W, 3), uint8
    sources: tuple
    rows: np.ndarray  # (N,), int, counted through all sources

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(N, H, W, 3)``."""
        return len(self.rows), *self.sources[0].shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.sources[0].dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __array_ufunc__(self, function, method, *inputs, **options):
        """Compute with the pixels, all of which are read."""
        arrays = [np.asarray(x) if isinstance(x, LazyImages) else x for x in inputs]
        return getattr(function, method)(*arrays, **options)

    def __getitem__(self, key) -> np.ndarray:
        if isinstance(key, tuple):  # of pixels, too
            return np.asarray(self)[key]
        rows = self.rows[key]
        flat = np.atleast_1d(rows)
        images = np.empty((len(flat), *self.shape[1:]), self.dtype)
        ends = np.cumsum([len(source) for source in self.sources])
        numbers = np.searchsorted(ends, flat, side="right")
        for number in np.unique(numbers):
            source = self.sources[number]
            places = np.flatnonzero(numbers == number)
            local = flat[places] - (ends[number] - len(source))
            if (np.diff(local) == 1).all():
                images[places] = source[local[0] : local[-1] + 1]
                continue
            for place in np.argsort(local, kind="stable"):  # neighbours share compressed chunks
                images[places[place]] = source[local[place]]
        return images if np.ndim(rows) else images[0]

    def select(self, chosen: np.ndarray) -> "LazyImages":
        """Return the images at these indices, or where this boolean mask is true, unread."""
        rows = self.rows[chosen]
        ends = np.cumsum([len(source) for source in self.sources])
        numbers = np.searchsorted(ends, rows, side="right")
        used, places = np.unique(numbers, return_inverse=True)
        if len(used) in (0, len(self.sources)):
            return replace(self, rows=rows)
        # Without sources of which nothing is left, so that few travel, and are hashed.
        lengths = np.array([len(self.sources[number]) for number in used])
        shift = (np.cumsum(lengths) - lengths) - (ends[used] - lengths)
        return replace(
            self, sources=tuple(self.sources[i] for i in used), rows=rows + shift[places]
        )

    def __reduce__(self) -> tuple:
        """Pickle where the pixels are, instead of them."""
        sources = tuple(_whereabouts(source) for source in self.sources)
        return _reopened, (sources, self.rows)

    @cached_property
    def identity(self) -> str:
        """Hash of the files, the datasets and the rows, which stands for that of the pixels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.rows, dtype=np.int64))
        for source in self.sources:
            if hasattr(source, "identity"):
                digest.update(source.identity.encode())
                continue
            in_file = isinstance(source, h5py.Dataset)
            path, name = (source.file.filename, source.name) if in_file else (source.filename, "")
            digest.update(f"{file_sha256(path)} {name} {len(source)}\n".encode())
        return digest.hexdigest()


def lazy(images: np.ndarray | h5py.Dataset | LazyImages) -> np.ndarray | LazyImages:
    """Wrap a memory map or an HDF5 dataset, so that selections of it stay on disk."""
    if isinstance(images, (np.memmap, h5py.Dataset)):
        return LazyImages((images,), np.arange(len(images)))
    return images


def read_readable(images) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read images by row, and leave out those that raise ValueError.

    Returns the n images, ``(n, H, W, 3)``, which of all N they are, ``(N,)`` bool, and what was
    said of the others, as an array of text.
    """
    try:
        return np.asarray(images[:]), np.ones(len(images), bool), np.array([], str)
    except ValueError:
        read, readable, errors = [], np.zeros(len(images), bool), []
        for row in range(len(images)):
            try:
                read.append(images[row])
                readable[row] = True
            except ValueError as error:
                errors.append(str(error))
        return np.array(read, np.uint8).reshape(-1, *images.shape[1:]), readable, np.array(errors)


def warn_of_unreadable(errors: Sequence[str], count: int) -> None:
    """Say how many of `count` images could not be read, and why; raise ValueError if all."""
    if len(errors):
        text = f"{len(errors)} of {count} patches cannot be read, and are left out: {errors[0]}"
        if len(errors) == count:
            raise ValueError(text)
        warnings.warn(text, stacklevel=3)


def _whereabouts(source) -> tuple:
    if isinstance(source, h5py.Dataset):
        return "hdf5", source.file.filename, source.name
    if isinstance(source, np.memmap):
        return "memmap", source.filename, source.dtype, "r", source.offset, source.shape
    return "other", source


def _reopened(whereabouts: tuple, rows: np.ndarray) -> LazyImages:
    openers = {
        "hdf5": lambda path, name: _hdf5_file(path)[name],
        "memmap": np.memmap,
        "other": lambda source: source,
    }
    return LazyImages(tuple(openers[kind](*where) for kind, *where in whereabouts), rows)


@functools.lru_cache(maxsize=16)
def _hdf5_file(path: str) -> h5py.File:
    return h5py.File(path)
