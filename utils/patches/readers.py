"""One call for every source of patches; a new kind of source is one more entry of `READERS`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from utils.patches.images import check_rgb, read_image
from utils.patches.lazy import LazyImages
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


def load_hdf5(
    path: str | Path, *, level: int = 7, per_class: int | None = None, seed: int = 0
) -> PatchSet:
    """Read the paper's Camelyon layout: ``{tumor,normal}/level7/centre*/patient*/node*/patches``.

    Beside ``patches``, ``(N, H, W, 3)`` uint8, a node may have ``locations``, ``(N, 2)``, x and y.
    Groups are patients.

    Parameters
    ----------
    path, per_class, seed
        As in `load_patches`. Patches stay in the file until they are indexed.
    level : int, of the slides, in the group's name

    Returns
    -------
    PatchSet
    """
    path = Path(path)
    file = _open_hdf5(path)
    nodes = {
        node.name: node for name in CLASS_NAMES for node in _nodes(file, f"{name}/level{level}")
    }
    shapes = {node["patches"].shape[1:] for node in nodes.values()}
    if len(shapes) > 1:
        raise ValueError(f"{path} has patches of several shapes, {shapes}: expected one.")
    counts = [len(node["patches"]) for node in nodes.values()]
    names = np.repeat([*nodes], counts)
    labels = np.array([CLASS_NAMES.index(name.split("/")[1]) for name in names])
    positions = [
        node["locations"][:] if "locations" in node else np.full((count, 2), -1)
        for node, count in zip(nodes.values(), counts, strict=True)
    ]
    images = LazyImages(tuple(node["patches"] for node in nodes.values()), np.arange(len(names)))
    sources = pd.Series(names).str.split("/", n=3).str[-1]
    groups = sources.str.rsplit("/", n=1).str[0]
    arrays = (
        labels,
        groups.to_numpy(str),
        sources.to_numpy(str),
        np.concatenate(positions).astype(np.int64),
    )
    patches = PatchSet(images, *arrays, name=path.stem)
    return patches.select(draw_indices(labels, per_class, seed))


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
    x = _open_hdf5(path, "x")["x"]
    with _open_hdf5(labels, "y") as file:
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


# A source other than the sample is loaded by the first that reads it.
READERS = [
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
        ``sample``, or what `load_folder`, `load_hdf5` or `load_patchcamelyon` reads.
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


def _image_files(folder: Path, name: str, class_names: Sequence[str]) -> list[Path]:
    files = [path for path in (folder / name).rglob("*") if path.suffix.lower() in _IMAGE_SUFFIXES]
    if not files:
        content = sorted(path.name for path in folder.glob("*")) or "nothing"
        error = f"{folder / name} has no images {_IMAGE_SUFFIXES}; {folder} holds {content}"
        raise ValueError(f"{error}; expected {', '.join(class_names)}, or give class_names.")
    return sorted(files)


def _nodes(file: h5py.File, root: str) -> list[h5py.Group]:
    """Groups below `root` that hold patches, in the order of their names."""
    names: list[str] = []
    file.visit(names.append)
    names = [name for name in names if name.startswith(f"{root}/") and name.endswith("/patches")]
    nodes = [file[name].parent for name in names if len(file[name])]
    if not nodes:
        layout = f"{root}/centre*/patient*/node*/patches, the paper's layout"
        raise ValueError(f"{file.filename} has no {layout}; it holds {list(file)[:8]}.")
    for node in nodes:
        check_rgb(node["patches"], f"the patches of {file.filename}{node.name}")
        locations, expected = node.get("locations"), (len(node["patches"]), 2)
        if locations is not None and locations.shape != expected:
            name = f"{file.filename}{locations.name}"
            raise ValueError(f"{name} has the shape {locations.shape}; expected {expected}.")
    return nodes


def _open_hdf5(path: Path, dataset: str | None = None) -> h5py.File:
    if not h5py.is_hdf5(path):
        error = ValueError if path.exists() else FileNotFoundError
        raise error(f"{path} does not exist or is not an HDF5 file; expected one of patches.")
    file = h5py.File(path)
    if dataset and dataset not in file:
        raise ValueError(f"{path} has no dataset {dataset!r}; it holds {list(file)[:8]}.")
    return file
