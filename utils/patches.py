"""Patches of histopathology slides and their readers.

Every reader returns a `PatchSet`. Only the patches that are asked for are read from disk, so that a
small sample of a file of many gigabytes costs little.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from utils import assets
from utils.progress import progress_bar

CLASS_NAMES = ("normal", "tumor")
NEOPLASTIC = 3
MASK_NAMES = {0: "background", 1: "connective", 2: "inflammatory", NEOPLASTIC: "neoplastic"}
UNANNOTATED = 255

# The stromal region has no nuclei raster. histolytics' own annotation of it
# (hgsc_stromal_cells.parquet) has five neoplastic nuclei, all within this box: x0, y0, x1, y1.
_STROMAL_NEOPLASTIC_BOX = (1316, 715, 1419, 934)
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class PatchSet:
    """Patches with labels and the knowledge of where they come from.

    Attributes
    ----------
    images : array, (N, H, W, 3), uint8
        RGB.
    labels : array, (N,), int64
        Index into `class_names`.
    groups : array, (N,), str
        Region or patient: what must not be on both sides of a split.
    sources : array, (N,), str
        Image, slide or node that each patch was cut from.
    positions : array, (N, 2), int64
        x and y of the upper left corner in the source, in pixels; -1 where unknown.
    masks : array, (N, H, W), uint8, or None
        Type of nucleus by pixel, see `MASK_NAMES`; `UNANNOTATED` where the source has no masks.
    nuclei : array, (N, H, W), int32, or None
        Number of the nucleus by pixel, 0 outside of nuclei and where the source has no masks.
    class_names : tuple of str
        Name of each label.
    name : str
        What the patches are a sample of.
    origin : str
        Where they come from, for provenance; by default `name`.
    """

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    sources: np.ndarray
    positions: np.ndarray
    masks: np.ndarray | None = None
    nuclei: np.ndarray | None = None
    class_names: tuple[str, ...] = CLASS_NAMES
    name: str = "patches"
    origin: str = ""

    def __post_init__(self):
        if not self.origin:
            object.__setattr__(self, "origin", self.name)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{np.sum(self.labels == label)} {name}" for label, name in enumerate(self.class_names)
        )
        height, width = self.images.shape[1:3]
        groups = len(np.unique(self.groups))
        return f"<PatchSet {self.name}: {counts}; {height} x {width} pixels; {groups} groups>"

    @property
    def sha256(self) -> str:
        """Hash of images, labels and groups."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images))
        digest.update(np.ascontiguousarray(self.labels, dtype=np.int64))
        digest.update("\n".join(map(str, self.groups)).encode())
        return digest.hexdigest()

    def select(self, which: np.ndarray) -> "PatchSet":
        """Return the patches at these indices, or where this boolean mask is true."""
        which = np.asarray(which)
        arrays = ("images", "labels", "groups", "sources", "positions", "masks", "nuclei")
        chosen = {
            name: getattr(self, name)[which] for name in arrays if getattr(self, name) is not None
        }
        return replace(self, **chosen)

    def in_groups(self, groups: Sequence[str]) -> "PatchSet":
        """Return the patches of these groups.

        Raises
        ------
        ValueError
            If none of the groups occurs.
        """
        which = np.isin(self.groups, list(groups))
        if not which.any():
            raise ValueError(
                f"none of the groups {list(groups)[:5]} is in this PatchSet, whose groups are "
                f"{sorted(set(self.groups))[:5]} and so on."
            )
        return self.select(which)

    def sample(self, per_class: int, *, seed: int = 0) -> "PatchSet":
        """Draw at most `per_class` patches of each class, evenly over groups, in their order."""
        return self.select(self.sample_indices(per_class, seed=seed))

    def sample_indices(self, per_class: int, *, seed: int = 0) -> np.ndarray:
        """Return the indices of the patches that `sample` draws."""
        return _draw(self.labels, per_class, seed, self.groups)

    def split(self, *, folds: int = 3, seed: int = 0) -> tuple["PatchSet", "PatchSet"]:
        """Split into training and held-out patches, whole groups at a time.

        Parameters
        ----------
        folds : int
            One part of this many is held out.
        seed : int
            Seed of the assignment of groups.

        Returns
        -------
        train, test : PatchSet
            Both have patches of every class, and no group, nor overlapping patches, in common.

        Raises
        ------
        ValueError
            If there are fewer groups than `folds`, or no such split.
        """
        found = len(np.unique(self.groups))
        if found < folds:
            raise ValueError(
                f"a split into {folds} folds needs as many groups, but this PatchSet has {found}: "
                "give the regions or patients when reading it, or lower folds."
            )
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for train, test in splitter.split(self.images, self.labels, self.groups):
            parts = self.select(train), self.select(test)
            if all(len(np.unique(part.labels)) == len(self.class_names) for part in parts):
                check_disjoint(*parts)
                return parts
        raise ValueError(
            f"no split of {found} groups into {folds} folds leaves every class on both sides: "
            "more groups of each class, or fewer folds, are needed."
        )


def check_disjoint(one: PatchSet, other: PatchSet) -> None:
    """Raise ValueError if two sets share a group or have patches that overlap."""
    shared = np.intersect1d(one.groups, other.groups)
    if len(shared):
        raise ValueError(f"the group {shared[0]!r} is on both sides of the split.")
    size = np.array(one.images.shape[2:0:-1])
    for source in np.intersect1d(one.sources, other.sources):
        here = one.positions[one.sources == source]
        there = other.positions[other.sources == source]
        known = (here >= 0).all(axis=1)
        apart = np.abs(here[known][:, None] - there[None]) >= size
        if not apart.any(axis=-1).all():
            raise ValueError(f"patches of {source!r} overlap across the split: use larger groups.")


def load_sample(
    *,
    patch_size: int = 150,
    stride: int = 56,
    block_size: int = 375,
    tumor_share: float = 0.5,
    max_empty: float = 0.5,
) -> PatchSet:
    """Cut the bundled sample: two regions of high-grade serous carcinoma, H&E, 1500 x 1500 pixels.

    A patch is *tumor* if at least `tumor_share` of its nuclei's area is neoplastic, and *normal* if
    it has nuclei and none of them is neoplastic. The others are ambiguous and left out. In the
    stromal region, which has no nuclei masks, all patches are normal but those that touch the box
    around its few annotated neoplastic nuclei, which are left out.

    Parameters
    ----------
    patch_size, stride : int
        Pixels. Patches lie on a grid within a block and never cross a block's border.
    block_size : int
        Pixels; the blocks are the groups.
    tumor_share : float
        In (0, 1].
    max_empty : float
        Largest share of nearly white pixels, in [0, 1].

    Raises
    ------
    ValueError
        If the sizes do not fit into each other.
    utils.assets.AssetError
        If the images cannot be fetched.
    """
    if not 0 < patch_size <= block_size <= 1500 or stride < 1:
        raise ValueError(
            f"patch_size={patch_size}, stride={stride}, block_size={block_size}: expected "
            "0 < patch_size <= block_size <= 1500 and stride >= 1."
        )
    types, ids = (
        np.load(assets.path("hgsc", f"hgsc_nest_{kind}_mask.npz"))["nuc_raster"]
        for kind in ("type", "inst")
    )
    types, ids = types.astype(np.uint8), ids.astype(np.int32)
    rasters = {
        "hgsc_nest": (types, ids),
        "hgsc_stromal_he": (np.full_like(types, UNANNOTATED), np.zeros_like(ids)),
    }
    rows = []
    for source, (mask, nuclei) in rasters.items():
        image = _read_image(assets.path("hgsc", f"{source}.jpg"))
        white = image.min(axis=-1) > 200
        blocks = range(0, 1500 - block_size + 1, block_size)
        offsets = range(0, block_size - patch_size + 1, stride)
        for top, left, dy, dx in np.stack(
            np.meshgrid(blocks, blocks, offsets, offsets, indexing="ij"), axis=-1
        ).reshape(-1, 4):
            y, x = int(top + dy), int(left + dx)
            window = np.s_[y : y + patch_size, x : x + patch_size]
            label = _sample_label(source, mask[window], x, y, patch_size, tumor_share)
            if label is None or white[window].mean() > max_empty:
                continue
            group = f"{source}/r{top // block_size}c{left // block_size}"
            row = (image[window], label, group, source, (x, y), mask[window], nuclei[window])
            rows.append(row)
    return PatchSet(
        *map(np.array, zip(*rows, strict=True)), name="hgsc sample", origin=assets.origin("hgsc")
    )


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
        Read this many patches of each class, drawn with `seed`, instead of all; the others are
        never loaded.

    Raises
    ------
    ValueError
        If the file is not HDF5 or lacks the groups; the message lists those it has.
    """
    path = Path(path)
    with _open_hdf5(path) as file:
        nodes: list[h5py.Group] = []
        labels, owners, rows = [], [], []
        for label, name in enumerate(CLASS_NAMES):
            found = _nodes(file.get(f"{name}/level{level}"))
            if not found:
                raise ValueError(
                    f"{path} has no {name}/level{level}/centre*/patient*/node*/patches; its "
                    f"groups begin with {_outline(file)}. Expected the layout of the paper."
                )
            for node in found:
                length = len(_check_patches(path, node["patches"]))
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
        chosen = np.arange(len(labels)) if per_class is None else _draw(labels, per_class, seed)
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
    labels: str | Path,
    *,
    metadata: str | Path | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> PatchSet:
    """Read PatchCamelyon's pair of HDF5 files, with the datasets ``x`` and ``y``.

    Parameters
    ----------
    images, labels : str or Path
        Files with ``x``, ``(N, 96, 96, 3)`` uint8, and ``y``, 0 or 1.
    metadata : str or Path, optional
        PatchCamelyon's CSV, whose column ``wsi`` gives the groups. Without it all patches are one
        group, and the set cannot be split.
    per_class, seed
        As in `load_hdf5`.

    Raises
    ------
    ValueError
        If a dataset is missing or the lengths differ.
    """
    images, labels = Path(images), Path(labels)
    with _open_hdf5(images) as image_file, _open_hdf5(labels) as label_file:
        for path, file, key in ((images, image_file, "x"), (labels, label_file, "y")):
            if key not in file:
                raise ValueError(f"{path} has no dataset {key!r}; it has {_outline(file)}.")
        x, y = _check_patches(images, image_file["x"]), label_file["y"][:].reshape(-1).astype(int)
        if len(x) != len(y):
            raise ValueError(f"{images} has {len(x)} patches, but {labels} has {len(y)} labels.")
        chosen = np.arange(len(y)) if per_class is None else _draw(y, per_class, seed)
        pixels = x[chosen]
    groups, positions = np.full(len(y), images.stem), np.full((len(y), 2), -1)
    if metadata is not None:
        table = pd.read_csv(metadata)
        if "wsi" not in table or len(table) != len(y):
            raise ValueError(
                f"{metadata} has {len(table)} rows and the columns {list(table)}; expected "
                f"{len(y)} rows and a column 'wsi'."
            )
        groups = table["wsi"].astype(str).to_numpy()
        if "coord_x" in table and "coord_y" in table:
            positions = table[["coord_x", "coord_y"]].to_numpy(dtype=np.int64)
    groups = groups[chosen]
    return PatchSet(pixels, y[chosen], groups, groups, positions[chosen], name=images.stem)


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
        Regular expression whose first group, searched in the path below the class folder, is the
        patch's group. By default the first subfolder; images outside of any are one group.
    patch_size : int, optional
        Resize to this height and width in pixels.
    per_class, seed
        As in `load_hdf5`.

    Raises
    ------
    ValueError
        If a class has no images, an image cannot be read, or sizes differ without `patch_size`.
    """
    folder = Path(folder)
    files, labels = [], []
    for label, name in enumerate(class_names):
        below = sorted((folder / name).rglob("*"))
        found = [path for path in below if path.suffix.lower() in _IMAGE_SUFFIXES]
        if not found:
            there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else "nothing"
            raise ValueError(
                f"{folder / name} has no images ({', '.join(_IMAGE_SUFFIXES)}); {folder} holds "
                f"{there}. Expected the subfolders {', '.join(class_names)}, or give class_names."
            )
        files += found
        labels += [label] * len(found)
    labels = np.array(labels)
    chosen = np.arange(len(labels)) if per_class is None else _draw(labels, per_class, seed)
    images, groups = [], []
    for index in progress_bar(chosen, desc=f"read {folder.name}", unit="image"):
        image = _read_image(files[index])
        if patch_size is not None:
            image = cv2.resize(image, (patch_size, patch_size), interpolation=cv2.INTER_AREA)
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"{files[index]} is {image.shape[0]} x {image.shape[1]} pixels, but the images "
                f"before it are {images[0].shape[0]} x {images[0].shape[1]}: give patch_size."
            )
        images.append(image)
        below = files[index].relative_to(folder / class_names[labels[index]]).as_posix()
        match = re.search(group_pattern, below)
        groups.append(match.group(1) if match else folder.name)
    return PatchSet(
        np.array(images),
        labels[chosen],
        np.array(groups),
        np.array([files[i].relative_to(folder).as_posix() for i in chosen]),
        np.full((len(chosen), 2), -1),
        class_names=tuple(class_names),
        name=folder.name,
    )


def load_patches(
    source: str | Path = "sample", *, per_class: int | None = None, seed: int = 0
) -> PatchSet:
    """Read ``sample``, a folder of images, or an HDF5 file of the paper's layout.

    Parameters
    ----------
    source : str or Path
    per_class, seed
        Draw at most this many patches of each class.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    """
    if source == "sample":
        patches = load_sample()
        return patches if per_class is None else patches.sample(per_class, seed=seed)
    if Path(source).is_dir():
        return load_folder(source, per_class=per_class, seed=seed)
    return load_hdf5(source, per_class=per_class, seed=seed)


def _sample_label(
    source: str, mask: np.ndarray, x: int, y: int, size: int, tumor_share: float
) -> int | None:
    if source == "hgsc_stromal_he":
        x0, y0, x1, y1 = _STROMAL_NEOPLASTIC_BOX
        return None if x < x1 and y < y1 and x + size > x0 and y + size > y0 else 0
    nuclei, neoplastic = np.sum(mask > 0), np.sum(mask == NEOPLASTIC)
    if nuclei == 0 or 0 < neoplastic < tumor_share * nuclei:
        return None
    return int(neoplastic > 0)


def _draw(
    labels: np.ndarray, per_class: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Sorted indices of at most `per_class` patches of each label, evenly over any groups."""
    if per_class < 1:
        raise ValueError(f"per_class is {per_class}; expected at least 1.")
    order = np.random.default_rng(seed).permutation(len(labels))
    table = pd.DataFrame({"label": labels[order], "index": order})
    if groups is not None:
        # Every group's first patch comes before any group's second.
        turn = table.groupby(["label", groups[order]]).cumcount()
        table = table.iloc[np.argsort(turn.to_numpy(), kind="stable")]
    return np.sort(table.groupby("label").head(per_class)["index"].to_numpy())


def _nodes(root: h5py.Group | None) -> list[h5py.Group]:
    """Groups below `root` that hold patches, in the order of their names."""
    found: list[h5py.Group] = []

    def keep(_, item) -> None:
        if isinstance(item, h5py.Group) and "patches" in item:
            found.append(item)

    if root is not None:
        root.visititems(keep)
    return found


def _read_image(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} cannot be read as an image: remove or replace it.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _open_hdf5(path: Path) -> h5py.File:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected an HDF5 file of patches.")
    try:
        return h5py.File(path)
    except OSError as error:
        raise ValueError(f"{path} is not an HDF5 file ({error}).") from error


def _check_patches(path: Path, dataset: h5py.Dataset) -> h5py.Dataset:
    if dataset.dtype != np.uint8 or dataset.ndim != 4 or dataset.shape[-1] != 3:
        raise ValueError(
            f"{path}{dataset.name} is {dataset.dtype} of shape {dataset.shape}; expected uint8 of "
            "shape (N, H, W, 3)."
        )
    return dataset


def _outline(file: h5py.File) -> list[str]:
    """First groups of a file, two deep, for error messages."""
    names = []
    for name, item in file.items():
        names += [f"{name}/{child}" for child in item] if isinstance(item, h5py.Group) else [name]
    return names[:8]
