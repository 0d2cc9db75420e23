import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import shapely

from utils.patches.annotations import rasterise, read_polygons


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
