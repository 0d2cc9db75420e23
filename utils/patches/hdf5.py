"""The paper's layout of patches in an HDF5 file: read, and written.

``{tumor,normal}/level7/centre*/patient*/node*`` hold ``patches`` and their ``locations``.
"""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from utils.chunk_files import append_rows, kept_chunks
from utils.files import whole_file
from utils.patches.images import check_rgb
from utils.patches.lazy import UNREADABLE, LazyImages, read_readable, warn_of_unreadable
from utils.patches.patchset import CLASS_NAMES, UNANNOTATED, PatchSet, draw_indices

MICRONS = "microns_per_pixel"  # attribute of the file: of patches; of a node: of its level 0
_CHUNK = 64  # patches that are read and sent at once


def load_hdf5(
    path: str | Path, *, level: int = 7, per_class: int | None = None, seed: int = 0
) -> PatchSet:
    """Read the paper's Camelyon layout: ``{tumor,normal}/level7/centre*/patient*/node*/patches``.

    Beside ``patches``, ``(N, H, W, 3)`` uint8, a node may have ``locations``, ``(N, 2)``, x and y,
    and ``masks`` and ``nuclei``, as in a `PatchSet`. Groups are patients, and sources nodes, unless
    a node has the attributes ``group`` and ``source``, which `write_hdf5` writes.

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
    file = open_hdf5(path)
    nodes = {
        node.name: node for name in CLASS_NAMES for node in _nodes(file, f"{name}/level{level}")
    }
    shapes = {node["patches"].shape[1:] for node in nodes.values()}
    if len(shapes) > 1:
        raise ValueError(f"{path} has patches of several shapes, {shapes}: expected one.")
    counts = [len(node["patches"]) for node in nodes.values()]
    names = np.repeat([*nodes], counts)
    labels = np.array([CLASS_NAMES.index(name.split("/")[1]) for name in names])
    images = LazyImages(tuple(node["patches"] for node in nodes.values()), np.arange(len(names)))
    paths = [name.split("/", 3)[3] for name in nodes]
    sources = [n.attrs.get("source", p) for n, p in zip(nodes.values(), paths, strict=True)]
    groups = [
        n.attrs.get("group", p.rsplit("/", 1)[0])
        for n, p in zip(nodes.values(), paths, strict=True)
    ]
    arrays = (
        labels,
        np.repeat(np.array(groups, str), counts),
        np.repeat(np.array(sources, str), counts),
        _of_nodes(nodes, "locations", -1, np.int64),
    )
    options = {name: file.attrs[name].item() for name in [MICRONS] if name in file.attrs}
    if MICRONS in options:
        microns = [node.attrs.get(MICRONS, options[MICRONS]) for node in nodes.values()]
        options["source_microns"] = np.repeat(microns, counts)
    if any("nuclei" in node for node in nodes.values()):
        options["masks"] = _of_nodes(nodes, "masks", UNANNOTATED, np.uint8)
        options["nuclei"] = _of_nodes(nodes, "nuclei", 0, np.int32)
    patches = PatchSet(images, *arrays, name=path.stem, **options)
    return patches.select(draw_indices(labels, per_class, seed))


def write_hdf5(patches: PatchSet, path: str | Path, *, level: int = 7) -> None:
    """Write patches in the paper's layout, or append them to a file that has it.

    Chunks that are complete are kept beside the file, in a folder, so that a run that was killed
    goes on; the file itself appears when all are complete. Patches whose location the file has
    already are not added.

    Parameters
    ----------
    patches : PatchSet
        N patches, which are read in chunks, by workers if there are any.
    path : str or Path
    level : int, in the groups' names
    """
    path = Path(path)
    folder = path.with_name(f".{path.name}.{patches.sha256[:16]}")
    table = pd.DataFrame({"label": patches.labels, "group": patches.groups})
    table["source"] = patches.sources

    def arguments(rows: np.ndarray) -> tuple:
        return (patches.select(rows),)

    nodes, chunks, errors = [], [], []
    for (label, group, source), rows in table.groupby(["label", "group", "source"]).groups.items():
        name = f"{CLASS_NAMES[label]}/level{level}/{_node_name(group, source)}"
        attributes = {"group": str(group), "source": str(source)}
        if patches.source_microns is not None:
            attributes[MICRONS] = patches.source_microns[rows[0]]
        for start in range(0, len(rows), _CHUNK):
            chosen = np.asarray(rows[start : start + _CHUNK])
            nodes.append((name, attributes))
            chunks.append((str(len(chunks)), partial(arguments, chosen)))
    with whole_file(path) as scratch:
        if path.exists():
            open_hdf5(path).close()
            shutil.copy(path, scratch)
        with h5py.File(scratch, "a") as file:
            _set_pixel_size(file, patches.microns_per_pixel, path)
            kept = kept_chunks(folder, _arrays, chunks, desc=f"patches of {patches.name}")
            for (name, attributes), arrays in zip(nodes, kept, strict=True):
                node = file.require_group(name)
                errors += arrays.pop(UNREADABLE).tolist()
                _append(node, arrays, f"{path}, {name}")
                node.attrs.update(attributes)
            warn_of_unreadable(errors, len(patches))
    shutil.rmtree(folder)


def _arrays(patches: PatchSet) -> dict[str, np.ndarray]:
    """Read what a node keeps of patches, of those that can be read."""
    images, readable, errors = read_readable(patches.images)
    optional = {"masks": patches.masks, "nuclei": patches.nuclei}
    if (patches.positions >= 0).all():
        optional["locations"] = patches.positions
    arrays = {name: x[readable] for name, x in optional.items() if x is not None}
    return {"patches": images, UNREADABLE: errors, **arrays}


def _append(node: h5py.Group, arrays: Mapping[str, np.ndarray], name: str) -> None:
    """Add arrays to a node, without patches whose locations the node has."""
    if len(node) and set(node) != set(arrays):
        raise ValueError(f"{name} has {sorted(node)}, not {sorted(arrays)}: write to another file.")
    new = np.ones(len(arrays["patches"]), bool)
    if "locations" in node:
        places = set(map(tuple, node["locations"][:].tolist()))
        new = np.array([tuple(place) not in places for place in arrays["locations"].tolist()])
    for kind in node:
        known, shape = node[kind], arrays[kind].shape[1:]
        if known.shape[1:] != shape or known.maxshape[0] is not None:
            raise ValueError(
                f"{name}: {kind} of shape {known.shape[1:]} cannot be extended by {shape}: write "
                "to another file."
            )
    append_rows(node, {kind: array[new] for kind, array in arrays.items()})


def _set_pixel_size(file: h5py.File, microns: float | None, path: Path) -> None:
    """Keep the patches' pixel size; raise ValueError if the file's patches have another."""
    known = file.attrs.get(MICRONS, microns)
    if known != microns and len(file):
        raise ValueError(f"{path} has patches of {known} µm per pixel, not {microns}.")
    if microns is not None:
        file.attrs[MICRONS] = microns


def _node_name(group: str, source: str) -> str:
    """Name the node of a patient's slide, which a set that was read in this layout has already."""
    if source.startswith(f"{group}/"):
        return source
    names = [name.replace("/", "_") for name in (group, source)]
    prefixed = [
        name if name.startswith(prefix) else f"{prefix}_{name}"
        for prefix, name in zip(("patient", "node"), names, strict=True)
    ]
    return "/".join(["centre_0", *prefixed])


def _of_nodes(nodes: Mapping[str, h5py.Group], kind: str, fill: int, dtype: type) -> np.ndarray:
    """Concatenate a dataset of all nodes; `fill` where a node has none."""
    tails = {"locations": (2,)}
    arrays = [
        node[kind][:]
        if kind in node
        else np.full((len(node["patches"]), *tails.get(kind, node["patches"].shape[1:3])), fill)
        for node in nodes.values()
    ]
    return np.concatenate(arrays).astype(dtype)


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


def open_hdf5(path: Path, dataset: str | None = None) -> h5py.File:
    """Open a file that exists and, if one is named, has this dataset."""
    if not h5py.is_hdf5(path):
        error = ValueError if path.exists() else FileNotFoundError
        raise error(f"{path} does not exist or is not an HDF5 file; expected one of patches.")
    file = h5py.File(path)
    if dataset and dataset not in file:
        raise ValueError(f"{path} has no dataset {dataset!r}; it holds {list(file)[:8]}.")
    return file
