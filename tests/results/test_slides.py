import json

import numpy as np
import openslide
import pytest
import shapely
import tifffile

from utils.patches import open_slide, read_annotations
from utils.results import figures, write_geojson, write_pyramid, write_rgb_pyramid


def test_pyramids_have_the_pixel_size_and_the_names(tmp_path):
    generator = np.random.default_rng(0)
    maps = {name: generator.random((1200, 900)).astype(np.float32) for name in ("one", "two")}
    maps["one"][:40] = np.nan
    write_pyramid(tmp_path / "maps.tif", maps, 8.0)
    with tifffile.TiffFile(tmp_path / "maps.tif") as file:
        series = file.series[0]
        assert [level.shape for level in series.levels] == [
            (2, 1200, 900),
            (2, 600, 450),
            (2, 300, 225),
        ]
        np.testing.assert_array_equal(series.asarray(), np.stack([*maps.values()]))
        page = file.pages[0]
        assert page.is_tiled and page.tags["XResolution"].value == (1250, 1)  # per centimetre
        for text in ('PhysicalSizeX="8.0"', 'Name="one"', 'Name="two"'):
            assert text in file.ome_metadata
    before = (tmp_path / "maps.tif").read_bytes()
    write_pyramid(tmp_path / "maps.tif", maps, 8.0)
    assert (tmp_path / "maps.tif").read_bytes() == before


def test_colours_are_opened_by_openslide(tmp_path):
    probability = np.linspace(0, 1, 1200 * 900, dtype=np.float32).reshape(1200, 900)
    probability[:50] = np.nan
    pixels = figures.colour_probability(probability)
    assert (pixels[:50] == 255).all() and pixels[-1, -1].tolist() == [253, 231, 55]  # cividis
    write_rgb_pyramid(tmp_path / "colours.tif", pixels, 8.0)
    slide = open_slide(tmp_path / "colours.tif")
    assert slide.microns_per_pixel == pytest.approx(8.0) and slide.size == (900, 1200)
    np.testing.assert_array_equal(slide.read(0, 0, 900, 1200, 8.0), pixels)
    with openslide.OpenSlide(str(tmp_path / "colours.tif")) as file:
        assert file.level_dimensions == ((900, 1200), (450, 600), (225, 300))
        small = np.asarray(file.read_region((0, 0), 1, (450, 600)))[..., :3]
    means = pixels.reshape(600, 2, 450, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small, means, atol=1)


def test_areas_are_annotations_of_qupath(tmp_path):
    area = shapely.union_all(
        [shapely.box(0, 0, 8, 8) - shapely.box(2, 2, 4, 4), shapely.box(9, 9, 12, 12)]
    )
    write_geojson(tmp_path / "high.geojson", area, "High Grad-CAM")
    annotations = read_annotations(tmp_path / "high.geojson")
    assert annotations.areas["high grad-cam"].equals(area)
    content = json.loads((tmp_path / "high.geojson").read_text())
    assert len(content["features"]) == 2
    assert content["features"][0]["properties"]["objectType"] == "annotation"


def test_nothing_is_written_of_nothing(tmp_path):
    write_geojson(tmp_path / "none.geojson", shapely.Polygon(), "x")
    assert json.loads((tmp_path / "none.geojson").read_text())["features"] == []
    with pytest.raises(ValueError):
        write_pyramid(tmp_path / "none.tif", {}, 8.0)
    assert not (tmp_path / "none.tif").exists()
