"""Annotated nuclei: polygons as masks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet
import shapely

TYPES = {"connective": 1, "inflammatory": 2, "neoplastic": 3}  # as in the sample's own masks
# What others call these types.
SYNONYMS = {
    **{name: "neoplastic" for name in ("tumor", "tumour", "tumor cell", "malignant")},
    **{name: "inflammatory" for name in ("lymphocyte", "immune", "immune cells")},
    **{name: "connective" for name in ("stroma", "stromal", "fibroblast", "connective tissue")},
}


def read_polygons(
    path: Path, types: Mapping[str, str] | None = None
) -> tuple[list[shapely.Polygon], list[int]]:
    """Read polygons, in pixels, and the types of their nuclei from a GeoParquet file.

    `types` maps the file's class names to ours (see `TYPES`), beside usual `SYNONYMS`; capitals
    do not matter.
    """
    table = pyarrow.parquet.read_table(path, columns=["geometry", "class_name"])
    known = SYNONYMS | {name: name for name in TYPES}
    known |= {name.lower(): ours for name, ours in (types or {}).items()}
    names = [name.lower() for name in table["class_name"].to_pylist()]
    if wrong := sorted(set(known.values()) - TYPES.keys()):
        raise ValueError(f"types has the values {wrong}; expected {', '.join(TYPES)}.")
    if unknown := sorted(set(names) - known.keys()):
        raise ValueError(
            f"{path} has nuclei of the types {unknown}; expected {', '.join(known)}: name what "
            f"they are in `types`, such as {{{unknown[0]!r}: 'connective'}}."
        )
    polygons = list(shapely.from_wkb(table["geometry"].to_pylist()))
    return polygons, [TYPES[known[name]] for name in names]


def rasterise(
    polygons: list[shapely.Polygon], types: list[int], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Paint polygons into a mask of types, ``(H, W)`` uint8, and one of numbers from 1, int32.

    A pixel belongs to a polygon that contains its centre, of overlapping ones to the last.
    """
    mask, numbers = np.zeros(shape, np.uint8), np.zeros(shape, np.int32)
    for number, (polygon, kind) in enumerate(zip(polygons, types, strict=True), 1):
        left, top, right, bottom = polygon.bounds
        rows = slice(max(int(top), 0), min(int(np.ceil(bottom)), shape[0]))
        columns = slice(max(int(left), 0), min(int(np.ceil(right)), shape[1]))
        y, x = np.mgrid[rows, columns] + 0.5
        inside = shapely.contains_xy(polygon, x, y)
        mask[rows, columns][inside] = kind
        numbers[rows, columns][inside] = number
    return mask, numbers
