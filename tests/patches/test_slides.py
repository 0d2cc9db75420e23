import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.slide_files import MICRONS, write_slide
from utils.patches import is_slide, open_slide
from utils.patches.slides import slide_files


def test_regions_are_the_pixels_that_were_written(slides, regions):
    slide = open_slide(slides / "patient_001_node_0.tif")
    image = regions["hgsc_nest"]
    assert slide.microns_per_pixel == pytest.approx(MICRONS) and slide.size == (1900, 1900)
    read = slide.read(333, 777, 224, 150, MICRONS)
    np.testing.assert_array_equal(read, image[777 : 777 + 150, 333 : 333 + 224])


def test_coarser_regions_are_averages_from_the_best_level(slides, regions):
    """At 1.25 micrometres, 2.5 pixels of level 0: from level 1, which is half as fine."""
    slide = open_slide(slides / "patient_001_node_0.tif")
    read = slide.read(400, 400, 100, 100, 1.25).astype(float)
    expected = regions["hgsc_nest"][400:650, 400:650]
    expected = cv2.resize(expected, (100, 100), interpolation=cv2.INTER_AREA)
    assert np.abs(read - expected).mean() < 2
    finer = slide.read(400, 400, 260, 260, 0.48)
    assert finer.shape == (260, 260, 3)


def test_outside_of_the_slide_is_white(slides):
    read = open_slide(slides / "patient_001_node_0.tif").read(-50, 1850, 100, 100, MICRONS)
    assert (read[:, :50] == 255).all() and (read[50:] == 255).all()
    assert (read[:49, 51:] == 243).all()


def test_the_overview_is_read_in_tiles(slides, regions, monkeypatch):
    slide = open_slide(slides / "patient_001_node_0.tif")
    whole = slide.overview(4.0)
    monkeypatch.setattr("utils.patches.slides._TILE", 128)
    np.testing.assert_allclose(slide.overview(4.0), whole, atol=12)
    padded = np.pad(regions["hgsc_nest"], ((0, 4), (0, 4), (0, 0)), constant_values=243)
    expected = cv2.resize(padded, (238, 238), interpolation=cv2.INTER_AREA)
    assert np.abs(whole.astype(float) - expected).mean() < 2


def test_the_pixel_size_is_read_or_given_and_never_guessed(tmp_path, regions):
    image = regions["hgsc_nest"][:512, :512]
    unknown = write_slide(tmp_path / "unknown.tif", image, microns=None, levels=1)
    with pytest.raises(ValueError, match="does not say how large.*give microns_per_pixel"):
        open_slide(unknown)
    assert open_slide(unknown, microns_per_pixel=0.25).microns_per_pixel == 0.25
    dots = write_slide(tmp_path / "dots.tif", image, microns=25_400 / 72, levels=1)
    with pytest.raises(ValueError, match="says that it has 352.7.*expected 0.05 to 20"):
        open_slide(dots)
    with pytest.raises(ValueError, match="microns_per_pixel is nan"):
        open_slide(unknown, microns_per_pixel=float("nan"))
    with pytest.raises(ValueError, match="0.25 micrometres.*asked for 0.1"):
        open_slide(unknown, microns_per_pixel=0.25).read(0, 0, 9, 9, 0.1)


def test_other_files_are_no_slides(tmp_path, slides):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_slide(tmp_path / "nothing.svs")
    text = tmp_path / "text.svs"
    text.write_text("no slide")
    assert not is_slide(text) and is_slide(slides / "patient_001_node_0.tif")
    with pytest.raises(ValueError, match="cannot be opened as a slide"):
        open_slide(text)
    whole = (slides / "patient_001_node_0.tif").read_bytes()
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(whole[:300_000])
    with pytest.raises(ValueError, match="damaged.tif cannot be"):
        open_slide(damaged).read(0, 0, 1900, 1900, MICRONS)
    names = [path.name for path in slide_files(slides)]
    assert names == ["patient_001_node_0.tif", "patient_002_node_1.tif"]


@pytest.mark.skipif("TEST_SLIDES" not in os.environ, reason="TEST_SLIDES names no real slides")
def test_real_slides_of_the_same_region_agree():
    """A real SVS, and its conversion to DICOM, whose file says RGB but holds luma and chroma."""
    folder = Path(os.environ["TEST_SLIDES"])
    (svs,) = (path for path in slide_files(folder) if path.suffix == ".svs")
    (dicom,) = (path for path in slide_files(folder) if path.suffix == ".dcm")
    first = open_slide(svs)
    with pytest.warns(UserWarning, match="luma and chroma"):
        second = open_slide(dicom)
    assert first.microns_per_pixel == second.microns_per_pixel == 0.499
    for microns in (0.499, 1.0):
        one, other = (slide.read(200, 300, 200, 200, microns) for slide in (first, second))
        assert np.abs(one.astype(float) - other).mean() < 3
