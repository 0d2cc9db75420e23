"""One call for every source of patches; a new kind of source is one more entry of `READERS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py

from utils.patches.folders import load_folder
from utils.patches.hdf5 import is_patchcamelyon, load_hdf5, load_patchcamelyon
from utils.patches.patchset import PatchSet
from utils.patches.sample import load_sample


@dataclass(frozen=True)
class Reader:
    """A kind of source: its name in messages, whether a source is one, and how to load it."""

    name: str
    reads: Callable[[Path], bool]
    load: Callable[..., PatchSet]  # of the source, per_class and seed


def _load_sample(_, *, per_class: int | None, seed: int, **options) -> PatchSet:
    unknown = set(options) - set(load_sample.__kwdefaults__)
    if unknown:
        raise ValueError(
            f"sample_options has {', '.join(sorted(unknown))}; the sample's options are "
            f"{', '.join(load_sample.__kwdefaults__)} and per_class."
        )
    return load_sample(**options).sample(per_class, seed=seed)


# A source is loaded by the first that reads it.
READERS = [
    Reader("'sample'", lambda source: source == Path("sample"), _load_sample),
    Reader("a folder with one subfolder per class", Path.is_dir, load_folder),
    Reader("PatchCamelyon's HDF5 file ..._x.h5", is_patchcamelyon, load_patchcamelyon),
    Reader("an HDF5 file in the paper's layout", h5py.is_hdf5, load_hdf5),
]


def load_patches(
    source: str | Path = "sample",
    *,
    per_class: int | None = None,
    seed: int = 0,
    sample_options: Mapping[str, object] | None = None,
) -> PatchSet:
    """Read patches from any source that one of `READERS` knows.

    Parameters
    ----------
    source : str or Path
        ``sample``, a folder with one subfolder per class, an HDF5 file in the paper's layout, or
        PatchCamelyon's file ``..._x.h5``, with ``..._y.h5`` and perhaps ``..._meta.csv`` beside it.
    per_class : int, optional
        Maximum number of patches per class; by default all.
    seed : int
        Seed of the draw.
    sample_options : mapping, optional
        Arguments of `load_sample`, and a ``per_class`` that takes precedence. Other sources, whose
        patches are cut already, ignore them.

    Returns
    -------
    PatchSet
    """
    path = Path(source)
    for reader in READERS:
        if reader.reads(path):
            options = {"per_class": per_class, "seed": seed}
            if reader.load is _load_sample:
                options |= sample_options or {}
            return reader.load(path, **options)
    error = ValueError if path.exists() else FileNotFoundError
    expected = "; ".join(reader.name for reader in READERS)
    raise error(f"{source} is not a source of patches, or does not exist; expected {expected}.")
