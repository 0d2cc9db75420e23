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
    per_class : int, optional
        Number of patches of each class to draw; the others are never loaded.
    seed : int
        Seed of the draw.

    Returns
    -------
    PatchSet
    """
    path = Path(path)
    with _open_hdf5(path) as file:
        nodes: list[h5py.Group] = []
        labels, owners, rows = [], [], []
        for label, name in enumerate(CLASS_NAMES):
            found = _nodes(file.get(f"{name}/level{level}"))  # without empty ones
            if not found:
                raise ValueError(
                    f"{path} has no {name}/level{level}/centre*/patient*/node*/patches; its "
                    f"groups begin with {_outline(file)}. Expected the layout of the paper."
                )
            for node in found:
                check_rgb(node["patches"], f"the patches of {path}{node.name}")
                length = len(node["patches"])
                if "locations" in node and node["locations"].shape != (length, 2):
                    raise ValueError(
                        f"{path}{node.name}/locations has the shape {node['locations'].shape}; "
                        f"expected ({length}, 2), as there are {length} patches."
                    )
                labels.append(np.full(length, label))
                owners.append(np.full(length, len(nodes)))
                rows.append(np.arange(length))
                nodes.append(node)
        labels, owners, rows = map(np.concatenate, (labels, owners, rows))
        chosen = np.arange(len(labels))
        if per_class is not None:
            chosen = draw_indices(labels, per_class, seed)
        images, positions = [], []
        for owner in progress_bar(np.unique(owners[chosen]), desc=f"read {path.name}", unit="node"):
            node, wanted = nodes[owner], rows[chosen][owners[chosen] == owner]
            images.append(node["patches"][wanted])
            known = "locations" in node
            positions.append(node["locations"][wanted] if known else np.full((len(wanted), 2), -1))
        sources = [nodes[owner].name.split("/", 3)[-1] for owner in owners[chosen]]
        groups = [source.rsplit("/", 1)[0] for source in sources]
        shapes = {image.shape[1:] for image in images}
        if len(shapes) > 1:
            raise ValueError(f"{path} has patches of several shapes, {shapes}: expected one.")
    return PatchSet(
        np.concatenate(images),
        labels[chosen],
        np.array(groups),
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
        File with ``y``, 0 or 1; by default the one beside `images` with ``y`` for the last ``x``
        of its name, such as ``train_y.h5`` for ``train_x.h5``.
    metadata : str or Path, optional
        PatchCamelyon's CSV, whose column ``wsi`` gives the groups; by default ``train_meta.csv``
        beside them, if it is there. Without it all patches are one group, and the set cannot be
        split.
    per_class : int, optional
        Number of patches of each class to draw; the others are never loaded.
    seed : int
        Seed of the draw.

    Returns
    -------
    PatchSet
    """
    images = Path(images)
    labels = Path(labels) if labels is not None else _beside(images, f"y{images.suffix}")
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
        chosen = np.arange(len(y)) if per_class is None else draw_indices(y, per_class, seed)
        pixels = image_file["x"][chosen]
    if metadata is None and _beside(images, "meta.csv").is_file():
        metadata = _beside(images, "meta.csv")
    groups, positions = np.full(len(y), images.stem), np.full((len(y), 2), -1)
    if metadata is not None:
        groups, positions = _patchcamelyon_metadata(metadata, positions)
    groups = groups[chosen]
    return PatchSet(pixels, y[chosen], groups, groups, positions[chosen], name=images.stem)


def is_patchcamelyon(path: str | Path) -> bool:
    """Whether a file has PatchCamelyon's dataset ``x`` rather than the paper's groups."""
    with _open_hdf5(Path(path)) as file:
        return isinstance(file.get("x"), h5py.Dataset)


def _beside(images: Path, ending: str) -> Path:
    """Name the file that PatchCamelyon has beside ``..._x.h5``."""
    return images.with_name(images.stem.removesuffix("x") + ending)


def _patchcamelyon_metadata(
    path: str | Path, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Read groups and, where there are any, positions of all patches."""
    table = pd.read_csv(path)
    if "wsi" not in table or len(table) != len(positions):
        raise ValueError(
            f"{path} has {len(table)} rows and the columns {list(table)}; expected "
            f"{len(positions)} rows and a column 'wsi'."
        )
    if "coord_x" in table and "coord_y" in table:
        positions = table[["coord_x", "coord_y"]].to_numpy(dtype=np.int64)
    return table["wsi"].astype(str).to_numpy(), positions


def _nodes(root: h5py.Group | None) -> list[h5py.Group]:
    """Groups below `root` that hold patches, in the order of their names."""
    found: list[h5py.Group] = []

    def keep(_, item) -> None:
        if isinstance(item, h5py.Group) and "patches" in item and len(item["patches"]):
            found.append(item)

    if root is not None:
        root.visititems(keep)
    return found


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
