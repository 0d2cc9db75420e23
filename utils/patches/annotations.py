"""Annotations: areas of slides by class, from ASAP and QuPath, and nuclei, from QuPath and tables.

Coordinates are pixels of level 0, x to the right and y down, as both programs write them.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
import pyarrow.parquet
import shapely
from defusedxml.common import DefusedXmlException
from shapely.geometry import shape as to_geometry

from utils.patches.patchset import UNTYPED

TYPES = {"connective": 1, "inflammatory": 2, "neoplastic": 3}  # as in the sample's own masks
# What others call these types.
SYNONYMS = {
    **{name: "neoplastic" for name in ("tumor", "tumour", "tumor cell", "malignant")},
    **{name: "inflammatory" for name in ("lymphocyte", "immune", "immune cells")},
    **{name: "connective" for name in ("stroma", "stromal", "fibroblast", "connective tissue")},
}

# What others call areas of tumour, and holes in them (Camelyon16's `_2`, Camelyon17's `normal`).
TUMOR = ("tumor", "tumour", "_0", "_1", "metastases", "metastasis", "carcinoma")
CUT_OUT = ("_2", "exclusion", "normal")
IGNORED = ("ignore*", "ignore")  # areas whose patches are left out, as QuPath calls them
FORMATS = (".xml", ".geojson", ".json")


@dataclass(frozen=True)
class Annotations:
    """Annotated areas of a slide, by class, and nuclei with their types, if there are any."""

    path: Path
    areas: Mapping[str, shapely.Geometry]  # by class, in lower case; "" for none
    nuclei: list[shapely.Polygon] = field(default_factory=list)
    types: list[int] = field(default_factory=list)  # as in `TYPES`

    def tumor(self, names: Iterable[str] = TUMOR) -> shapely.Geometry:
        """Area of the classes that are tumour, without what is cut out."""
        names = {name.lower() for name in names}
        if self.areas and not names & self.areas.keys():
            raise ValueError(
                f"{self.path} has areas of {sorted(self.areas)}; expected one of {sorted(names)} "
                "for tumour: give the names that mean tumour."
            )
        cut_out = [area for name, area in self.areas.items() if name in set(CUT_OUT) - names]
        tumor = [area for name, area in self.areas.items() if name in names]
        return shapely.difference(shapely.union_all(tumor), shapely.union_all(cut_out))

    def other(self, names: Iterable[str] = TUMOR) -> shapely.Geometry:
        """Area of the classes that are neither tumour nor ignored."""
        left_out = {name.lower() for name in names} | {*IGNORED}
        return shapely.union_all([a for name, a in self.areas.items() if name not in left_out])

    def ignored(self) -> shapely.Geometry:
        """Area that is annotated to be ignored."""
        return shapely.union_all([a for name, a in self.areas.items() if name in IGNORED])


def read_annotations(path: str | Path, types: Mapping[str, str] | None = None) -> Annotations:
    """Read the annotations of a slide.

    Parameters
    ----------
    path : str or Path
        XML file of ASAP, as in Camelyon16 and 17, or GeoJSON file of QuPath: a list of features, a
        collection or a single one. Polygons may have holes; points and lines are no areas.
        QuPath's cells and detections are nuclei.
    types : mapping of str to str, optional
        Types of nuclei, see `TYPES`, by the file's class names, beside usual `SYNONYMS`.

    Returns
    -------
    Annotations
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected annotations of a slide.")
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} is no file of annotations; expected {', '.join(FORMATS)}.")
    read = _read_asap if path.suffix.lower() == ".xml" else _read_geojson
    try:
        polygons = list(read(path))
    except DefusedXmlException as error:
        raise ValueError(f"{path} has entities or external references: remove them.") from error
    except (ParseError, KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as annotations of ASAP or QuPath ({type(error).__name__}: "
            f"{error})."
        ) from error
    areas: dict[str, list[shapely.Geometry]] = {}
    nuclei, names = [], []
    for name, polygon, is_nucleus in polygons:
        if is_nucleus:
            nuclei += list(getattr(polygon, "geoms", [polygon]))[:1]
            names.append(name)
        else:
            areas.setdefault(name, []).append(polygon)
    united = {name: shapely.union_all(geometries) for name, geometries in areas.items()}
    return Annotations(path, united, nuclei, _nucleus_types(path, names, types) if names else [])


def _read_asap(path: Path) -> Iterable[tuple[str, shapely.Geometry, bool]]:
    """Yield the classes and areas of an ASAP file; a group in a group has the outer one's class."""
    root = defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
    if root.tag != "ASAP_Annotations":
        raise ValueError(f"the root is {root.tag}, not ASAP_Annotations")
    outer = {group.get("Name"): group.get("PartOfGroup") for group in root.iter("Group")}
    for annotation in root.iter("Annotation"):
        name = annotation.get("PartOfGroup") or "None"
        seen = {name}
        while outer.get(name, "None") not in ("None", None, *seen):
            name = outer[name]
            seen.add(name)
        if annotation.get("Type") in ("Polygon", "Spline", "Rectangle"):
            area = _valid(shapely.Polygon(_asap_corners(annotation)))
            yield "" if name == "None" else name.lower(), area, False


def _asap_corners(annotation: Element) -> list[tuple[float, float]]:
    places = sorted(annotation.iter("Coordinate"), key=lambda place: int(float(place.get("Order"))))
    corners = [(_finite(place.get("X")), _finite(place.get("Y"))) for place in places]
    if len(corners) < 3:
        raise ValueError(f"{annotation.get('Name')!r} has {len(corners)} corners")
    return corners


def _finite(text: str) -> float:
    value = float(text.replace(",", "."))  # as some locales write it
    if not math.isfinite(value):
        raise ValueError(f"a coordinate is {text}")
    return value


def _read_geojson(path: Path) -> Iterable[tuple[str, shapely.Geometry, bool]]:
    """Yield the classes and areas of a QuPath file, and whether they are nuclei."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, Mapping):
        content = content["features"] if content["type"] == "FeatureCollection" else [content]
    for feature in content:
        properties = feature.get("properties") or {}
        is_nucleus = properties.get("objectType") in ("cell", "detection")
        geometry = to_geometry(feature.get("nucleusGeometry") or feature["geometry"])
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise ValueError("a coordinate is not finite")
        if geometry.geom_type in ("Polygon", "MultiPolygon"):
            named = (properties.get("classification") or {}).get("name") or properties.get("name")
            yield str(named or "").lower(), _valid(geometry), is_nucleus


def _valid(area: shapely.Geometry) -> shapely.Geometry:
    """Repair areas whose outline crosses itself, as drawn by hand; keep what has an area."""
    if area.is_valid:
        return area
    repaired = shapely.make_valid(area)
    polygons = [g for g in shapely.get_parts(repaired) if g.geom_type.endswith("Polygon")]
    return shapely.union_all(polygons)


def read_polygons(
    path: Path, types: Mapping[str, str] | None = None
) -> tuple[list[shapely.Polygon], list[int]]:
    """Read polygons, in pixels, and the types of their nuclei from a GeoParquet file.

    `types` maps the file's class names to ours (see `TYPES`), beside usual `SYNONYMS`; capitals
    do not matter.
    """
    table = pyarrow.parquet.read_table(path, columns=["geometry", "class_name"])
    names = [name.lower() for name in table["class_name"].to_pylist()]
    polygons = list(shapely.from_wkb(table["geometry"].to_pylist()))
    return polygons, _nucleus_types(path, names, types)


def _nucleus_types(
    path: Path, names: list[str], types: Mapping[str, str] | None = None
) -> list[int]:
    """Numbers of the types, as in `TYPES`, that the names of classes mean."""
    known = SYNONYMS | {name: name for name in TYPES}
    known |= {name.lower(): ours for name, ours in (types or {}).items()}
    known |= {"": "unknown"}
    if wrong := sorted(set(known.values()) - TYPES.keys() - {"unknown"}):
        raise ValueError(f"types has the values {wrong}; expected {', '.join(TYPES)}.")
    if unknown := sorted(set(names) - known.keys()):
        expected = ", ".join(filter(None, known))
        raise ValueError(
            f"{path} has nuclei of the types {unknown}; expected {expected}: name what they are in "
            f"`types`, such as {{{unknown[0]!r}: 'connective'}}."
        )
    return [TYPES.get(known[name], UNTYPED) for name in names]


def rasterise(
    polygons: list[shapely.Polygon], types: list[int], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Paint polygons into a mask of types, ``(H, W)`` uint8, and one of numbers from 1, int32.

    A pixel belongs to a polygon that contains its centre, of overlapping ones to the last.
    """
    mask, numbers = np.zeros(shape, np.uint8), np.zeros(shape, np.int32)
    for number, (polygon, kind) in enumerate(zip(polygons, types, strict=True), 1):
        left, top, right, bottom = polygon.bounds
        rows = slice(*np.clip([int(top), int(np.ceil(bottom))], 0, shape[0]))
        columns = slice(*np.clip([int(left), int(np.ceil(right))], 0, shape[1]))
        y, x = np.mgrid[rows, columns] + 0.5
        inside = shapely.contains_xy(polygon, x, y)
        mask[rows, columns][inside] = kind
        numbers[rows, columns][inside] = number
    return mask, numbers
