"""Patches of slides: on a grid over the tissue, with the class of the annotations.

Only an overview of a slide is read to choose patches; a patch is read when it is indexed.
"""

import functools
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import shapely
from shapely.affinity import affine_transform

from utils.cluster import map_chunks
from utils.patches.annotations import TUMOR, Annotations, rasterise, read_annotations
from utils.patches.lazy import LazyImages
from utils.patches.patchset import CLASS_NAMES, UNANNOTATED, PatchSet, draw_indices
from utils.patches.slide_table import PATIENT, slide_table
from utils.patches.slides import Slide, SlidePatches, open_slide
from utils.patches.tissue import Tissue, TissueOptions, find_tissue
from utils.progress import progress_bar

NORMAL = ("elsewhere", "annotated")


@dataclass(frozen=True)
class Cut:
    """How patches are cut; sizes are in pixels of the size that is asked for."""

    microns_per_pixel: float = 0.5
    size: int = 150
    stride: int | None = None  # by default the size
    min_tissue: float = 0.5  # least share of tissue in a patch
    tumor_share: float = 0.5  # least share of annotated tumour in a tumor patch
    tumor_names: tuple[str, ...] = TUMOR
    region: float = 500.0  # side of the squares that are groups instead of patients, micrometres
    normal: str = "elsewhere"  # normal patches: all tissue that is not tumour, or annotated areas
    tissue: TissueOptions = field(default_factory=TissueOptions)

    def __post_init__(self):
        shares = {"min_tissue": self.min_tissue, "tumor_share": self.tumor_share}
        if wrong := {name: value for name, value in shares.items() if not 0 <= value <= 1}:
            raise ValueError(f"{wrong}; expected 0 to 1.")
        if self.size < 1 or (self.stride is not None and self.stride < 1):
            raise ValueError(f"size={self.size}, stride={self.stride}; expected at least 1 pixel.")
        if self.region < self.size * self.microns_per_pixel:
            raise ValueError(f"region is {self.region} µm; expected at least a patch's side.")
        if self.normal not in NORMAL:
            raise ValueError(f"normal is {self.normal!r}; expected {' or '.join(NORMAL)}.")


def grid(slide: Slide, tissue: Tissue, cut: Cut) -> np.ndarray:
    """Corners of the patches with enough tissue, ``(N, 2)`` int64, in pixels of level 0."""
    step, side = (
        slide.pixels(n, cut.microns_per_pixel) for n in (cut.stride or cut.size, cut.size)
    )
    ends = [np.arange(0, max(0, pixels - side) + 1, step) for pixels in slide.size]
    corners = np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 2).round().astype(np.int64)
    return corners[tissue.share(corners, side) >= cut.min_tissue]


def read_coordinates(path: str | Path) -> tuple[np.ndarray, Mapping[str, object]]:
    """Read the corners of patches, ``(N, 2)`` int64, and attributes of a TRIDENT or CLAM file."""
    path = Path(path)
    if not h5py.is_hdf5(path):
        error = ValueError if path.exists() else FileNotFoundError
        raise error(f"{path} does not exist or is not an HDF5 file; expected coordinates.")
    with h5py.File(path) as file:
        if "coords" not in file:
            raise ValueError(f"{path} has no dataset 'coords', but {list(file)[:8]}.")
        corners, attributes = file["coords"][:], dict(file["coords"].attrs) | dict(file.attrs)
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise ValueError(f"{path} has coords of shape {corners.shape}; expected (N, 2).")
    return corners.astype(np.int64), attributes


def share_of(area: shapely.Geometry, corners: np.ndarray, side: float) -> np.ndarray:
    """Share of an area, ``(N,)``, in squares with these corners, ``(N, 2)``."""
    if area.is_empty:
        return np.zeros(len(corners))
    x, y = np.asarray(corners, float).T
    squares = shapely.box(x, y, x + side, y + side)
    shapely.prepare(area)
    shares = shapely.contains(area, squares).astype(float)
    crossing = shapely.intersects(area, squares) & (shares == 0)
    shares[crossing] = shapely.area(shapely.intersection(area, squares[crossing])) / side**2
    return shares


def classify(
    corners: np.ndarray, side: float, annotations: Annotations | None, label: str, cut: Cut
) -> np.ndarray:
    """Labels, ``(N,)``: 0 normal, 1 tumor, -1 ambiguous. All patches of normal slides are normal.

    A patch is ambiguous with less tumour than `tumor_share`, but some, or in ignored areas.
    """
    if annotations is None or label == CLASS_NAMES[0]:
        return np.zeros(len(corners), int)
    share = share_of(annotations.tumor(cut.tumor_names), corners, side)
    labels = np.where(share >= max(cut.tumor_share, 1e-9), 1, np.where(share > 0, -1, 0))
    if cut.normal == "annotated":
        inside = share_of(annotations.other(cut.tumor_names), corners, side) >= cut.tumor_share
        labels[(labels == 0) & ~inside] = -1
    labels[share_of(annotations.ignored(), corners, side) > 0] = -1
    return labels


def load_slides(
    slides: str | Path | pd.DataFrame,
    *,
    annotations: str | Path | None = None,
    patient: str = PATIENT,
    slide_microns: float | None = None,
    per_class: int | None = None,
    seed: int = 0,
    **options,
) -> PatchSet:
    """Cut patches from whole slides; only those that are drawn are read, when they are indexed.

    Parameters
    ----------
    slides : str, Path or DataFrame
        A slide; a folder of slides; or a table, also as CSV file, with the column ``slide`` and, if
        wanted, ``annotations``, ``patient``, ``label`` (normal: no patch of it is tumor),
        ``microns_per_pixel`` (of level 0) and ``coordinates`` (TRIDENT's or CLAM's HDF5 file of
        corners, in place of a grid over tissue). Paths in a CSV file are relative to it.
    annotations : str or Path, optional
        File, or folder of files named as the slides, see `read_annotations`; by default beside the
        slides. Slides in a folder ``normal`` need none.
    patient : str
        Regular expression whose first group, in the slide's name, is the patient; patients are the
        groups; where only one has tumor, regions of the slides are, which a warning says. A slide
        without a match is a patient of its own.
    slide_microns : float, optional
        Micrometres per pixel at level 0 of slides that do not say.
    per_class, seed
        As in `load_patches`; drawn evenly over groups.
    **options
        Fields of `Cut`: ``microns_per_pixel`` and ``size`` of the patches, and others.

    Returns
    -------
    PatchSet
        Positions are at level 0. Annotated nuclei become masks.
    """
    options["tumor_names"] = tuple(options.get("tumor_names", TUMOR))
    cut = Cut(**options)
    table = slide_table(slides, annotations, patient, slide_microns)
    chunks = [(str(row["slide"]), (row, cut)) for row in table.to_dict("records")]
    bar = {"desc": "slides", "total": len(chunks), "unit": "slide"}
    placed = [result for _, result in map_chunks(_place, chunks, **bar)]
    name = Path(slides).stem if isinstance(slides, (str, Path)) else "slides"
    numbers = np.repeat(np.arange(len(placed)), [len(one.labels) for one in placed])
    labels = np.concatenate([one.labels for one in placed])
    if missing := [name for label, name in enumerate(CLASS_NAMES) if label not in labels]:
        raise ValueError(
            f"{name} has {len(labels)} patches of {cut.size} pixels of {cut.microns_per_pixel:g} "
            f"µm, none of which is {' or '.join(missing)}: check annotations and options of Cut."
        )
    groups = np.array([one.patient for one in placed])[numbers]
    if len(np.unique(groups[labels == 1])) < 2:
        warnings.warn(
            f"{name} has tumor of one patient only: groups are squares of {cut.region:g} µm, and "
            "what is found holds for that patient.",
            stacklevel=2,
        )
        groups = np.concatenate([_regions(one, cut) for one in placed])
    chosen = draw_indices(labels, per_class, seed, groups)

    def of_patches(values: list) -> np.ndarray:
        return np.array(values)[numbers[chosen]]

    sources = [SlidePatches(p.slide, p.corners, cut.size, cut.microns_per_pixel) for p in placed]
    patches = PatchSet(
        LazyImages(tuple(sources), np.arange(len(labels))).select(chosen),
        labels[chosen],
        groups[chosen],
        of_patches([one.slide.name for one in placed]),
        np.concatenate([one.corners for one in placed])[chosen],
        name=name,
        origin=f"{len(placed)} slides, {json.dumps(asdict(cut))}",
        microns_per_pixel=cut.microns_per_pixel,
        source_microns=of_patches([one.slide.microns_per_pixel for one in placed]),
    )
    by_source = {one.slide.name: one.annotations for one in placed if one.annotations}
    return _with_nuclei(patches, {name: a for name, a in by_source.items() if a.nuclei})


@dataclass(frozen=True)
class _PlacedPatches:
    """Where patches of a slide lie, ``(N, 2)``, and of which class they are, ``(N,)``."""

    slide: Slide
    patient: str
    corners: np.ndarray
    labels: np.ndarray
    annotations: Annotations | None


def _place(row: Mapping[str, object], cut: Cut) -> _PlacedPatches:
    slide = open_slide(row["slide"], microns_per_pixel=row["microns_per_pixel"])
    side = slide.pixels(cut.size, cut.microns_per_pixel)
    if row["coordinates"] is None:
        corners = _grid_over_tissue(slide, slide.identity, cut)
    else:
        corners, attributes = read_coordinates(row["coordinates"])
        _check_extent(row["coordinates"], attributes, side)
    annotations = None
    if row["annotations"] is not None:
        annotations = read_annotations(row["annotations"])
    labels = classify(corners, side, annotations, row["label"], cut)
    known = labels >= 0
    return _PlacedPatches(slide, row["patient"], corners[known], labels[known], annotations)


@functools.lru_cache(maxsize=256)
def _grid_over_tissue(slide: Slide, identity: tuple, cut: Cut) -> np.ndarray:
    """Compute `grid` once for several draws from the same slide; `identity` is the file's."""
    return grid(slide, find_tissue(slide, cut.tissue), cut)


def _regions(placed: _PlacedPatches, cut: Cut) -> np.ndarray:
    """Name the square that holds the centre of each patch, ``(N,)``."""
    slide = placed.slide
    centres = placed.corners + slide.pixels(cut.size, cut.microns_per_pixel) / 2
    places = (centres * slide.microns_per_pixel // cut.region).astype(int)
    names = [f"{slide.name}/{cut.region:g}um/r{row}c{column}" for column, row in places]
    return np.array(names, dtype=str)


def _check_extent(path: Path, attributes: Mapping[str, object], side: float) -> None:
    """Raise ValueError if coordinates are of patches of another extent at level 0."""
    extent = attributes.get("patch_size_level0")
    if extent is None and "patch_size" in attributes and "downsample" in attributes:
        extent = attributes["patch_size"] * np.ravel(attributes["downsample"])[0]
    if extent is not None and abs(extent - side) > 0.02 * side:
        raise ValueError(
            f"{path} is of patches of {extent:g} pixels at level 0, but size and microns_per_pixel "
            f"ask for {side:g}: give those with which the coordinates were made."
        )


def _with_nuclei(patches: PatchSet, by_source: Mapping[str, Annotations]) -> PatchSet:
    """Paint the nuclei of annotations into masks of the patches; sources without have none."""
    if not by_source:
        return patches
    masks = np.full(patches.images.shape[:3], UNANNOTATED, np.uint8)
    numbers = np.zeros(patches.images.shape[:3], np.int32)
    side = patches.images.shape[1]
    trees = {name: shapely.STRtree(a.nuclei) for name, a in by_source.items()}
    scales = side / patches.extents[:, 0]
    rows = np.flatnonzero(np.isin(patches.sources, list(by_source)))
    for index in progress_bar(rows, desc="nuclei of patches", unit="patch"):
        source, scale = patches.sources[index], scales[index]
        (x, y), annotations = patches.positions[index], by_source[source]
        square = shapely.box(x, y, x + side / scale, y + side / scale)
        within = sorted(trees[source].query(square, predicate="intersects"))
        to_patch = [scale, 0, 0, scale, -x * scale, -y * scale]
        polygons = [affine_transform(annotations.nuclei[i], to_patch) for i in within]
        types = [annotations.types[i] for i in within]
        masks[index], local = rasterise(polygons, types, (side, side))
        numbers[index] = np.concatenate([[0], np.array(within, int) + 1])[local]
    return replace(patches, masks=masks, nuclei=numbers)
