"""One call for every source of patches; a new kind of source is one more entry of `READERS`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from utils.patches.cutting import load_slides
from utils.patches.hdf5 import load_hdf5, open_hdf5
from utils.patches.images import check_rgb, read_image
from utils.patches.lazy import LazyImages
from utils.patches.patchset import CLASS_NAMES, PatchSet, draw_indices
from utils.patches.sample import load_sample
from utils.patches.slide_table import COLUMNS, PATIENT, slide_table
from utils.patches.slides import is_slide, slide_files
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
    """Read a folder with one subfolder of images, PNG, JPEG, TIFF or BMP, for each class.

    Parameters
    ----------
    folder, per_class, seed
        As in `load_patches`; patches that are not drawn are never read.
    class_names : sequence of str
        Names of the subfolders: normal first, tumor second.
    group_pattern : str
        Regular expression whose first group, in the path below the class's folder, is the patch's
        group; by default the first subfolder. Images without a match are one group.
    patch_size : int, optional
        Height and width, in pixels, to which patches are resized.

    Returns
    -------
    PatchSet
    """
    folder = Path(folder)
    table = pd.DataFrame(
        {"label": label, "class": name, "file": path.relative_to(folder / name).as_posix()}
        for label, name in enumerate(class_names)
        for path in _image_files(folder, name, class_names)
    )
    table = table.iloc[draw_indices(table["label"].to_numpy(), per_class, seed)]
    sources = (table["class"] + "/" + table["file"]).to_numpy(str)
    groups = table["file"].str.extract(group_pattern).iloc[:, 0].fillna(folder.name).to_numpy(str)
    images = []
    for source in progress_bar(sources, desc=f"read {folder.name}", unit="image"):
        images.append(read_image(folder / source, patch_size))
        shape, first = images[-1].shape, images[0].shape
        if shape != first:
            raise ValueError(f"{folder / source} has shape {shape}, not {first}: give patch_size.")
    positions = np.full((len(images), 2), -1)
    arrays = np.array(images), table["label"].to_numpy(), groups, sources, positions
    return PatchSet(*arrays, class_names=tuple(class_names), name=folder.name)


def load_patchcamelyon(
    images: str | Path,
    labels: str | Path | None = None,
    *,
    metadata: str | Path | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> PatchSet:
    """Read PatchCamelyon's HDF5 files.

    Parameters
    ----------
    images : str or Path
        File ``..._x.h5`` with the dataset ``x``, ``(N, 96, 96, 3)`` uint8.
    labels, metadata : str or Path, optional
        File with the dataset ``y``, 0 or 1, and CSV file whose column ``wsi`` gives the groups; by
        default ``..._y.h5`` and ``..._meta.csv``. Without metadata all patches are one group.
    per_class, seed
        As in `load_patches`. Patches stay in the file until they are indexed.

    Returns
    -------
    PatchSet
    """
    path = Path(images)
    stem = str(path.with_suffix("")).removesuffix("x")
    labels, slides = Path(labels or f"{stem}y{path.suffix}"), Path(metadata or f"{stem}meta.csv")
    x = open_hdf5(path, "x")["x"]
    with open_hdf5(labels, "y") as file:
        y = file["y"][:].reshape(-1).astype(int)
    check_rgb(x, f"the patches of {path}")
    if len(x) != len(y):
        raise ValueError(f"{path} has {len(x)} patches, but {labels} has {len(y)} labels.")
    if unknown := set(np.unique(y)) - {0, 1}:
        raise ValueError(f"{labels} has the labels {unknown}; expected 0, normal, and 1, tumor.")
    chosen = draw_indices(y, per_class, seed)
    table = pd.DataFrame({"wsi": [path.stem] * len(y)})
    if metadata or slides.is_file():
        table = pd.read_csv(slides)
        if "wsi" not in table or len(table) != len(y):
            size = f"{len(table)} rows and the columns {list(table)}"
            raise ValueError(f"{slides} has {size}; expected {len(y)} rows and a column 'wsi'.")
    table = table.reindex(columns=["wsi", "coord_x", "coord_y"], fill_value=-1).iloc[chosen]
    groups = table.pop("wsi").astype(str).to_numpy(str)
    arrays = y[chosen], groups, groups, table.to_numpy(np.int64)
    return PatchSet(LazyImages((x,), chosen), *arrays, name=path.stem)


class Reader(NamedTuple):
    """A kind of source: its name in messages, whether a source is one, and how to load it."""

    name: str
    reads: Callable[[Path], bool]
    load: Callable[..., PatchSet]  # of the source, per_class and seed


def _is_patchcamelyon(path: Path) -> bool:
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return "x" in file


def _is_folder_of_slides(path: Path) -> bool:
    return path.is_dir() and bool(slide_files(path, first=True))


def _is_table_of_slides(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and path.is_file()


# A source other than the sample is loaded by the first that reads it.
READERS = [
    Reader("a slide", is_slide, load_slides),
    Reader("a folder of slides", _is_folder_of_slides, load_slides),
    Reader("a CSV table with the column slide", _is_table_of_slides, load_slides),
    Reader("a folder with the subfolders normal and tumor", Path.is_dir, load_folder),
    Reader("PatchCamelyon's HDF5 file ..._x.h5", _is_patchcamelyon, load_patchcamelyon),
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
        ``sample``, or what `load_slides`, `load_folder`, `load_hdf5` or `load_patchcamelyon` reads.
    per_class : int, optional
        Maximum number of patches per class, drawn with `seed`; by default all.
    seed : int
    sample_options : mapping, optional
        Arguments of `load_sample`, which take precedence; only for ``sample``.

    Returns
    -------
    PatchSet
    """
    path, options = Path(source), {"per_class": per_class, "seed": seed}
    if str(source) == "sample":
        return load_sample(**{**options, **(sample_options or {})})
    for reader in READERS:
        if reader.reads(path):
            return reader.load(path, **options)
    error = ValueError if path.exists() else FileNotFoundError
    expected = "; ".join(["'sample'", *(reader.name for reader in READERS)])
    raise error(f"{source} is not a source of patches, or does not exist; expected {expected}.")


def list_slides(source: str | Path) -> pd.DataFrame:
    """List the slides of a source of patches.

    Parameters
    ----------
    source : str or Path, as in `load_patches`

    Returns
    -------
    DataFrame
        One row per slide, with the columns of the table that `load_slides` takes; none if the
        source has no slides.
    """
    reads = [reader.reads for reader in READERS if reader.load is load_slides]
    if any(read(Path(source)) for read in reads):
        return slide_table(source, None, PATIENT, None)
    return pd.DataFrame(columns=COLUMNS)


def _image_files(folder: Path, name: str, class_names: Sequence[str]) -> list[Path]:
    files = [path for path in (folder / name).rglob("*") if path.suffix.lower() in _IMAGE_SUFFIXES]
    if not files:
        content = sorted(path.name for path in folder.glob("*")) or "nothing"
        error = f"{folder / name} has no images {_IMAGE_SUFFIXES}; {folder} holds {content}"
        raise ValueError(f"{error}; expected {', '.join(class_names)}, or give class_names.")
    return sorted(files)
