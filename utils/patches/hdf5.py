"""Patches in HDF5 files: the paper's layout of Camelyon, and PatchCamelyon.

Only the patches that are asked for are read from disk, so that a small sample of a file of many
gigabytes costs little.
"""

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
        HDF5 file.
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
        nodes = [node for name in CLASS_NAMES for node in _nodes(file, f"{name}/level{level}")]
        lengths = [len(node["patches"]) for node in nodes]
        owners = np.repeat(np.arange(len(nodes)), lengths)  # node of every patch
        rows = np.concatenate([np.arange(length) for length in lengths])
        labels = np.array([CLASS_NAMES.index(node.name.split("/")[1]) for node in nodes])[owners]
        chosen = draw_indices(labels, per_class, seed)
        images, positions = [], []
        for owner in progress_bar(np.unique(owners[chosen]), desc=f"read {path.name}", unit="node"):
            node, wanted = nodes[owner], rows[chosen][owners[chosen] == owner]
            images.append(node["patches"][wanted])
            unknown = np.full((len(wanted), 2), -1)
            positions.append(node["locations"][wanted] if "locations" in node else unknown)
        sources = [nodes[owner].name.split("/", 3)[-1] for owner in owners[chosen]]
    shapes = {image.shape[1:] for image in images}
    if len(shapes) > 1:
        raise ValueError(f"{path} has patches of several shapes, {shapes}: expected one.")
    return PatchSet(
        np.concatenate(images),
        labels[chosen],
        np.array([source.rsplit("/", 1)[0] for source in sources]),
        np.array(sources),
        np.concatenate(positions).astype(np.int64),
        name=path.stem,
    )


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
        File with ``x``, ``(N, 96, 96, 3)`` uint8.
    labels : str or Path, optional
        File with ``y``, 0 or 1; by default ``..._y.h5`` beside ``..._x.h5``.
    metadata : str or Path, optional
        PatchCamelyon's CSV, whose column ``wsi`` gives the groups; by default ``..._meta.csv``, if
        it exists. Without it all patches are one group, and the set cannot be split.
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
        for path, file, key in ((images, image_file, "x"), (labels, label_file, "y")):
            if key not in file:
                raise ValueError(f"{path} has no dataset {key!r}; it has {_outline(file)}.")
        check_rgb(image_file["x"], f"the patches of {images}")
        y = label_file["y"][:].reshape(-1).astype(int)
        if len(image_file["x"]) != len(y):
            raise ValueError(
                f"{images} has {len(image_file['x'])} patches, but {labels} has {len(y)} labels."
            )
        chosen = draw_indices(y, per_class, seed)
        pixels = image_file["x"][chosen]
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
    nodes: list[h5py.Group] = []

    def keep(_, item) -> None:
        if isinstance(item, h5py.Group) and "patches" in item and len(item["patches"]):
            nodes.append(item)

    if root in file:
        file[root].visititems(keep)
    if not nodes:
        raise ValueError(
            f"{file.filename} has no {root}/centre*/patient*/node*/patches; its groups begin with "
            f"{_outline(file)}. Expected the layout of the paper."
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


def _open_hdf5(path: Path) -> h5py.File:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected an HDF5 file of patches.")
    try:
        return h5py.File(path)
    except OSError as error:
        raise ValueError(f"{path} is not an HDF5 file ({error}).") from error


def _outline(file: h5py.File) -> list[str]:
    """First groups of a file, two deep, for error messages."""
    names = []
    for name, item in file.items():
        names += [f"{name}/{child}" for child in item] if isinstance(item, h5py.Group) else [name]
    return names[:8]
