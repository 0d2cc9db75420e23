"""Slides and annotations as scanners, ASAP and QuPath write them."""

import json

import cv2
import tifffile

MICRONS = 0.5


def write_slide(path, image, microns=MICRONS, levels=3):
    """Write a tiled pyramid as scanners do, with its resolution in pixels per centimetre."""
    resolution = {}
    if microns:
        per_cm = 10_000 / microns
        resolution = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        options = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib"}
        file.write(image, **options, **resolution)
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


def damage_tile(path, number):
    """Overwrite a tile of a slide's finest level by zeros."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offset, count = page.dataoffsets[number], page.databytecounts[number]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(bytes(count))
