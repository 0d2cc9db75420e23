"""One call for every source of patches; a new kind of source is one more entry of `READERS`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np

from utils.patches.hdf5 import is_patchcamelyon, load_hdf5, load_patchcamelyon
from utils.patches.images import read_image
from utils.patches.patchset import CLASS_NAMES, PatchSet, draw_indices
from utils.patches.sample import load_sample
from utils.progress import progress_bar

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def load_folder(
    folder: str | Path,
    *,
    class_names: Sequence[str] = CLASS_NAMES,
    group_pattern: str = r"^([^/]+)/",
    patch_size: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> PatchSet:
    """Read a folder with one subfolder of images for each class.

    Parameters
    ----------
    folder : str or Path
        ``folder/<class>/...``, images as PNG, JPEG, TIFF or BMP at any depth.
    class_names : sequence of str
        Names of the subfolders: normal first, tumor second.
    group_pattern : str
        Regular expression, searched in the path below the class folder; its first group is the
        patch's group. By default the first subfolder; images outside of any are one group.
    patch_size : int, optional
        Height and width, in pixels, to which patches are resized.
    per_class, seed
        As in `load_patches`; patches that are not drawn are never read.

    Returns
    -------
    PatchSet
    """
    folder = Path(folder)
    files = [_image_files(folder, name, class_names) for name in class_names]
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files])
    chosen = draw_indices(labels, per_class, seed)
    paths, labels = np.concatenate(files)[chosen], labels[chosen]
    images, sources, groups = [], [], []
    bar = progress_bar(paths, desc=f"read {folder.name}", unit="image")
    for path, label in zip(bar, labels, strict=True):
        image = read_image(path)
        if patch_size is not None:
            image = cv2.resize(image, (patch_size, patch_size), interpolation=cv2.INTER_AREA)
        images.append(image)
        (height, width, _), expected = image.shape, images[0].shape
        if image.shape != expected:
            raise ValueError(
                f"{path} is {height} x {width} pixels, but the images before it are "
                f"{expected[0]} x {expected[1]}: give patch_size."
            )
        sources.append(path.relative_to(folder).as_posix())
        match = re.search(group_pattern, sources[-1].removeprefix(f"{class_names[label]}/"))
        groups.append(match.group(1) if match else folder.name)
    positions = np.full((len(paths), 2), -1)
    arrays = map(np.array, (images, labels, groups, sources, positions))
    return PatchSet(*arrays, class_names=tuple(class_names), name=folder.name)


def _image_files(folder: Path, name: str, class_names: Sequence[str]) -> list[Path]:
    files = sorted((folder / name).rglob("*"))
    files = [path for path in files if path.suffix.lower() in _IMAGE_SUFFIXES]
    if not files:
        content = sorted(path.name for path in folder.glob("*")) or "nothing"
        raise ValueError(
            f"{folder / name} has no images ({', '.join(_IMAGE_SUFFIXES)}); {folder} holds "
            f"{content}. Expected the subfolders {', '.join(class_names)}, or give class_names."
        )
    return files


@dataclass(frozen=True)
class Reader:
    """A kind of source: its name in messages, whether a source is one, and how to load it."""

    name: str
    reads: Callable[[Path], bool]
    load: Callable[..., PatchSet]  # of the source, per_class and seed


def _load_sample(_, *, per_class: int | None, seed: int, **options) -> PatchSet:
    known = load_sample.__kwdefaults__
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"sample_options has {', '.join(unknown)}; the sample's options are "
            f"{', '.join(known)} and per_class."
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
        Arguments of `load_sample`, and a ``per_class`` that takes precedence; only for ``sample``.

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
