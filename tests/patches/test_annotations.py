import json
import os
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import shapely

from tests.slide_files import asap, geojson, square
from utils.patches.annotations import rasterise, read_annotations, read_polygons


def test_polygons_are_painted_where_they_contain_the_centre_of_a_pixel():
    square = shapely.box(2, 3, 5, 7)  # columns 2 to 4, rows 3 to 6
    beyond = shapely.box(8.6, -2, 20, 1.4)  # column 9, row 0, since it ends before row 1's centre
    mask, numbers = rasterise([square, beyond], [3, 1], (10, 10))
    expected = np.zeros((10, 10), np.uint8)
    expected[3:7, 2:5], expected[0, 9] = 3, 1
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(numbers, np.where(expected == 3, 1, np.where(expected, 2, 0)))
    assert mask.dtype == np.uint8 and numbers.dtype == np.int32


def test_large_polygons_agree_with_opencv():
    generator = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = generator.uniform(60, 80, 40)
    points = np.stack([100 + radius * np.cos(angles), 100 + radius * np.sin(angles)], axis=1)
    mask, _ = rasterise([shapely.Polygon(points)], [1], (200, 200))
    painted = cv2.fillPoly(np.zeros((200, 200), np.uint8), [np.int32(points.round())], 1)
    assert (mask != painted).mean() < 0.02 < mask.mean()


def test_polygons_of_a_file(tmp_path):
    polygons = [shapely.box(0, 0, 2, 2), shapely.box(1, 1, 4, 4)]
    columns = {"geometry": [p.wkb for p in polygons], "class_name": ["neoplastic", "connective"]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "nuclei.parquet")
    shapes, types = read_polygons(tmp_path / "nuclei.parquet")
    assert [shape.bounds for shape in shapes] == [p.bounds for p in polygons] and types == [3, 1]
    columns["class_name"][0] = "unlabelled"
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "nuclei.parquet")
    with pytest.raises(ValueError, match="nuclei.parquet .*'unlabelled'.*connective.*name what"):
        read_polygons(tmp_path / "nuclei.parquet")


def test_class_names_of_others_are_mapped(tmp_path):
    box = shapely.box(0, 0, 2, 2).wkb
    columns = {"geometry": [box] * 3, "class_name": ["Tumor", "Lymphocyte", "Mitosis"]}
    path = tmp_path / "nuclei.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    assert read_polygons(path, {"mitosis": "neoplastic"})[1] == [3, 2, 3]
    assert read_polygons(path, {"Mitosis": "connective", "Tumor": "inflammatory"})[1] == [2, 2, 1]
    with pytest.raises(ValueError, match="types has the values .*'cancer'.*expected connective"):
        read_polygons(path, {"Mitosis": "cancer"})


def test_holes_and_exclusions_are_no_tumour(tmp_path):
    """Camelyon16 cuts out a group of its own, QuPath draws polygons with holes: the same area."""
    outer, hole = square(100, 100, 400), (200, 200, 100)
    corners = outer["coordinates"][0][:-1]
    cut_out = square(*hole)["coordinates"][0][:-1]
    of_asap = asap(tmp_path / "a.xml", [("Tumor", corners), ("_2", cut_out)])
    whole = ("Tumor", "annotation", square(100, 100, 400, hole))
    for path in (of_asap, geojson(tmp_path / "q.geojson", [whole])):
        tumor = read_annotations(path).tumor()
        assert tumor.area == 400**2 - 100**2
        assert not tumor.contains(shapely.Point(250, 250))
        assert tumor.contains(shapely.Point(150, 150))
    several = geojson(tmp_path / "list.json", [whole, ("Ignore*", "annotation", outer)], False)
    assert read_annotations(several).ignored().area == 400**2
    assert read_annotations(several).other().is_empty


def test_groups_are_read_from_the_file(tmp_path):
    text = asap(tmp_path / "a.xml", [("inner", [(0, 0), (9, 0), (9, 9)])]).read_text()
    nested = text.replace('Name="inner" PartOfGroup="None"', 'Name="inner" PartOfGroup="Lesions"')
    groups = '<AnnotationGroups><Group Name="Lesions" PartOfGroup="None"/>'
    (tmp_path / "b.xml").write_text(nested.replace("<AnnotationGroups>", groups))
    annotations = read_annotations(tmp_path / "b.xml")
    assert set(annotations.areas) == {"lesions"}
    assert annotations.tumor(["Lesions"]).area == 40.5
    with pytest.raises(ValueError, match=r"has areas of \['lesions'\]; expected one of .*tumor"):
        annotations.tumor()


def test_cells_of_qupath_are_nuclei(tmp_path):
    cell = {"type": "Feature", "geometry": square(0, 0, 30), "nucleusGeometry": square(5, 5, 10)}
    cell["properties"] = {"objectType": "cell", "classification": {"name": "Tumor"}}
    untyped = {**cell, "properties": {"objectType": "detection"}}
    path = tmp_path / "cells.geojson"
    path.write_text(json.dumps([cell, untyped]))
    annotations = read_annotations(path)
    assert annotations.types == [3, 4] and not annotations.areas
    assert [nucleus.area for nucleus in annotations.nuclei] == [100, 100]
    cell["properties"]["classification"]["name"] = "Odd"
    path.write_text(json.dumps([cell]))
    with pytest.raises(ValueError, match="types .'odd'.*name what they are"):
        read_annotations(path)
    assert read_annotations(path, {"odd": "connective"}).types == [1]


def test_outlines_that_cross_themselves_are_repaired(tmp_path):
    path = asap(tmp_path / "bow.xml", [("Tumor", [(0, 0), (10, 10), (10, 0), (0, 10)])])
    assert read_annotations(path).tumor().area == 50


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.xml", "<ASAP_Annotations>", "ParseError"),
        ("a.xml", "<other/>", "root is other"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><ASAP_Annotations/>', "entities"),
        ("a.geojson", '{"type": "Feature"}', "KeyError"),
        ("a.geojson", "not json", "JSONDecodeError"),
        ("a.geojson", '[{"geometry": null}]', "cannot be read"),
        ("a.geojson", "[1]", "cannot be read"),
        ("a.csv", "", "no file of annotations"),
    ],
)
def test_other_files_are_no_annotations(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=reason) as error:
        read_annotations(tmp_path / name)
    assert name in str(error.value)


def test_coordinates_are_finite(tmp_path):
    path = asap(tmp_path / "a.xml", [("Tumor", [(0, 0), ("nan", 1), (1, 1)])])
    with pytest.raises(ValueError, match="coordinate is nan"):
        read_annotations(path)
    path = asap(tmp_path / "b.xml", [("Tumor", [(0, 0), (1, 1)])])
    with pytest.raises(ValueError, match="'A0' has 2 corners"):
        read_annotations(path)


@pytest.mark.skipif("TEST_SLIDES" not in os.environ, reason="TEST_SLIDES names no real slides")
def test_real_annotations_are_read():
    folder = Path(os.environ["TEST_SLIDES"], "annotations")
    lesions = read_annotations(folder / "camelyon17_patient_004_node_4.xml").tumor()
    assert len(lesions.geoms) >= 3 and lesions.bounds[2] == 13482.8
    assert set(read_annotations(folder / "qupath05.geojson").areas) == {"ut", "i"}
