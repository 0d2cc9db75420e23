"""Small slides with annotations: the sample's two regions, written as pyramids."""

import json

import cv2
import numpy as np
import pytest
import tifffile

from utils import assets
from utils.patches.images import read_image

MARGIN, SIZE = 200, 1500  # of glass around a region of tissue, in pixels of level 0
MICRONS = 0.5


def write_slide(path, image, microns=MICRONS, levels=3):
    """Write a tiled pyramid as scanners do, with its resolution in pixels per centimetre."""
    resolution = {}
    if microns:
        per_cm = 10_000 / microns
        resolution = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        options = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib"}
        file.write(image, subifds=levels - 1, **options, **resolution)
        for level in range(1, levels):
            size = (image.shape[1] >> level, image.shape[0] >> level)
            smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            file.write(smaller, subfiletype=1, **options)
    return path


def asap(path, polygons):
    """Write polygons by group as ASAP does: one list of groups at the end."""
    lines = ["<?xml version='1.0'?>", "<ASAP_Annotations><Annotations>"]
    for number, (group, corners) in enumerate(polygons):
        lines.append(
            f'<Annotation Name="A{number}" Type="Polygon" PartOfGroup="{group}"><Coordinates>'
        )
        lines += [
            f'<Coordinate Order="{order}" X="{x}" Y="{y}"/>' for order, (x, y) in enumerate(corners)
        ]
        lines.append("</Coordinates></Annotation>")
    groups = "".join(f'<Group Name="{g}" PartOfGroup="None"/>' for g in {g for g, _ in polygons})
    lines.append(f"</Annotations><AnnotationGroups>{groups}</AnnotationGroups></ASAP_Annotations>")
    path.write_text("\n".join(lines))
    return path


def geojson(path, features, collection=True):
    """Write features, (class, type of object, geometry), as QuPath does."""
    items = [
        {
            "type": "Feature",
            "geometry": geometry,
            "properties": {"objectType": kind, "classification": {"name": name}},
        }
        for name, kind, geometry in features
    ]
    content = {"type": "FeatureCollection", "features": items} if collection else items
    path.write_text(json.dumps(content))
    return path


def square(left, top, side, hole=None):
    """Corners of a square, as a GeoJSON polygon, with another as its hole."""
    x, y = [left, left + side, left + side, left, left], [top, top, top + side, top + side, top]
    ring = [list(corner) for corner in zip(x, y, strict=True)]
    rings = [ring] + ([square(*hole)["coordinates"][0]] if hole else [])
    return {"type": "Polygon", "coordinates": rings}


@pytest.fixture(scope="session")
def regions():
    """The sample's regions, each in a margin of glass."""
    images = {}
    for name in ("hgsc_nest", "hgsc_stromal_he"):
        image = read_image(assets.path("hgsc", f"{name}.jpg"))
        side = SIZE + 2 * MARGIN
        images[name] = np.full((side, side, 3), 243, np.uint8)
        images[name][MARGIN:-MARGIN, MARGIN:-MARGIN] = image
    return images


@pytest.fixture(scope="session")
def slides(tmp_path_factory, regions):
    """A folder of two slides of two patients; half of the first is annotated as tumour."""
    folder = tmp_path_factory.mktemp("slides")
    write_slide(folder / "patient_001_node_0.tif", regions["hgsc_nest"])
    write_slide(folder / "patient_002_node_1.tif", regions["hgsc_stromal_he"])
    half = [(MARGIN, MARGIN), (950, MARGIN), (950, 1700), (MARGIN, 1700)]
    hole = [(300, 300), (600, 300), (600, 600), (300, 600)]
    asap(folder / "patient_001_node_0.xml", [("metastases", half), ("normal", hole)])
    outside = ("Tumor", "annotation", square(0, 0, 100))
    geojson(folder / "patient_002_node_1.geojson", [outside])
    return folder
