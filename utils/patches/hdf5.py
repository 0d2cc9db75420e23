"""Patches in HDF5 files, of which only the patches that are asked for are read from disk."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from utils.patches.images import check_rgb
from utils.patches.patchset import CLASS_NAMES, PatchSet, draw_indices
from utils.progress import progress_bar


def load_hdf5(
    path: str | Path, *, level: int = 7, per_class: int | None = None, seed: int = 0
) -> PatchSet:
    """Read the paper's Camelyon layout: ``{tumor,normal}/level7/centre*/patient*/node*/patches``.

    Beside ``patches``, ``(N, H, W, 3)`` uint8, a node may have ``locations``, ``(N, 2)``, x and y.
    Groups are patients.

    Parameters
    ----------
    path : str or Path
    level : int
        Slide level in the group's name.
    per_class, seed
        As in `load_patches`; patches that are not drawn are never read.

    Returns
    -------
    PatchSet
    """
    path = Path(path)
    with _open_hdf5(path) as file:
        table = pd.concat(
            pd.DataFrame({"label": label, "node": node.name, "row": range(len(node["patches"]))})
            for label, name in enumerate(CLASS_NAMES)
            for node in _nodes(file, f"{name}/level{level}")
        )
        table = table.iloc[draw_indices(table["label"].to_numpy(), per_class, seed)]
        nodes = table.groupby("node", sort=False)["row"]
        images, positions = [], []
        for name, rows in progress_bar(nodes, desc=f"read {path.name}", unit="node"):
            node, rows = file[name], rows.to_numpy()
            images.append(node["patches"][rows])
            unknown = np.full((len(rows), 2), -1)
            positions.append(node["locations"][rows] if "locations" in node else unknown)
    shapes = {image.shape[1:] for image in images}
    if len(shapes) > 1:
        raise ValueError(f"{path} has patches of several shapes, {shapes}: expected one.")
    images, positions = np.concatenate(images), np.concatenate(positions).astype(np.int64)
    sources = table["node"].str.split("/", n=3).str[-1]
    groups = sources.str.rsplit("/", n=1).str[0]
    arrays = table["label"].to_numpy(), groups.to_numpy(str), sources.to_numpy(str), positions
    return PatchSet(images, *arrays, name=path.stem)


def load_patchcamelyon(
    images: str | Path,
    labels: str | Path | None = None,
    *,
    metadata: str | Path | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> PatchSet:
    """Read PatchCamelyon's HDF5 files, with the datasets ``x`` and ``y``.

    Parameters
    ----------
    images : str or Path
        File ``..._x.h5`` with ``x``, ``(N, 96, 96, 3)`` uint8.
    labels, metadata : str or Path, optional
        File with ``y``, 0 or 1, and CSV file whose column ``wsi`` gives the groups; by default
        ``..._y.h5`` and ``..._meta.csv``. Without metadata all patches are one group.
    per_class, seed
        As in `load_patches`; patches that are not drawn are never read.

    Returns
    -------
    PatchSet
    """
    images = Path(images)
    beside = str(images.with_suffix("")).removesuffix("x")
    labels = Path(labels or f"{beside}y{images.suffix}")
    with _open_hdf5(images) as image_file, _open_hdf5(labels) as label_file:
        x = _dataset(image_file, "x")
        y = _dataset(label_file, "y")[:].reshape(-1).astype(int)
        check_rgb(x, f"the patches of {images}")
        if len(x) != len(y):
            raise ValueError(f"{images} has {len(x)} patches, but {labels} has {len(y)} labels.")
        chosen = draw_indices(y, per_class, seed)
        pixels = x[chosen]
    if metadata is None and Path(f"{beside}meta.csv").is_file():
        metadata = f"{beside}meta.csv"
    groups, positions = np.full(len(y), images.stem), np.full((len(y), 2), -1)
    if metadata is not None:
        table = pd.read_csv(metadata)
        if "wsi" not in table or len(table) != len(y):
            raise ValueError(
                f"{metadata} has {len(table)} rows and the columns {list(table)}; expected "
                f"{len(y)} rows and a column 'wsi'."
            )
        groups = table["wsi"].astype(str).to_numpy()
        if {"coord_x", "coord_y"} <= set(table):
            positions = table[["coord_x", "coord_y"]].to_numpy(dtype=np.int64)
    groups = groups[chosen]
    return PatchSet(pixels, y[chosen], groups, groups, positions[chosen], name=images.stem)


def is_patchcamelyon(path: Path) -> bool:
    """Whether a path is an HDF5 file with PatchCamelyon's dataset ``x``."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return isinstance(file.get("x"), h5py.Dataset)


def _nodes(file: h5py.File, root: str) -> list[h5py.Group]:
    """Groups below `root` that hold patches, in the order of their names."""
    items: list[h5py.Group | h5py.Dataset] = []
    if root in file:
        file[root].visititems(lambda _, item: items.append(item))
    groups = [item for item in items if isinstance(item, h5py.Group)]
    nodes = [group for group in groups if len(group.get("patches", ()))]
    if not nodes:
        raise ValueError(
            f"{file.filename} has no {root}/centre*/patient*/node*/patches, the paper's layout; "
            f"its groups begin with {_outline(file)}."
        )
    for node in nodes:
        check_rgb(node["patches"], f"the patches of {file.filename}{node.name}")
        expected = (len(node["patches"]), 2)
        if "locations" in node and node["locations"].shape != expected:
            raise ValueError(
                f"{file.filename}{node.name}/locations has the shape {node['locations'].shape}; "
                f"expected {expected}, one x and y per patch."
            )
    return nodes


def _dataset(file: h5py.File, key: str) -> h5py.Dataset:
    if key not in file:
        raise ValueError(f"{file.filename} has no dataset {key!r}; it has {_outline(file)}.")
    return file[key]


def _open_hdf5(path: Path) -> h5py.File:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected an HDF5 file of patches.")
    try:
        return h5py.File(path)
    except OSError as error:
        raise ValueError(f"{path} is not an HDF5 file ({error}).") from error


def _outline(file: h5py.File) -> list[str]:
    names = []
    for name, item in file.items():
        names += [f"{name}/{child}" for child in item] if isinstance(item, h5py.Group) else [name]
    return names[:8]
