import cv2
import numpy as np
import pytest

from tests.slide_files import write_slide
from utils.patches import TissueOptions, find_tissue, open_slide
from utils.patches.tissue import out_of_focus, pen_marks


def _tissue(path, image, **options):
    slide = open_slide(write_slide(path, image))
    return find_tissue(slide, TissueOptions(microns_per_pixel=4.0, **options))


def test_tissue_is_where_it_was_put(slides):
    slide = open_slide(slides / "patient_001_node_0.tif")
    tissue = find_tissue(slide, TissueOptions(microns_per_pixel=4.0))
    truth = np.zeros(tissue.mask.shape, bool)
    truth[25:-25, 25:-25] = True  # the region, without the margin
    both = (tissue.mask & truth).sum()
    assert both / truth.sum() > 0.9 and both / tissue.mask.sum() > 0.98
    assert tissue.step == 8 and tissue.pen < 0.01 and tissue.blurred < 0.02
    assert tissue.options["closed"] == 24.0


def test_shares_are_counted_in_the_mask(slides):
    tissue = find_tissue(open_slide(slides / "patient_001_node_0.tif"))
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 1700, (50, 2))
    for corner, share in zip(corners, tissue.share(corners, 160), strict=True):
        x, y = corner / tissue.step
        window = np.s_[int(y) : int(np.ceil(y + 10)), int(x) : int(np.ceil(x + 10))]
        assert share == pytest.approx(tissue.mask[window].mean(), abs=0.15)
    assert tissue.share([[-1600, 0]], 160) == 0


@pytest.mark.parametrize("colour", [(30, 90, 200), (20, 140, 60), (25, 25, 30)])
def test_pen_is_no_tissue(tmp_path, regions, colour):
    """Ink of three colours on the glass, as wide as a pen draws."""
    image = regions["hgsc_nest"].copy()
    cv2.line(image, (60, 60), (60, 1800), colour, 90)
    tissue = _tissue(tmp_path / "pen.tif", image)
    assert tissue.pen > 0.02 and not tissue.mask[:, :13].any()
    assert tissue.mask[30:-30, 30:-30].mean() > 0.85


def test_real_stains_are_no_pen(regions):
    for image in regions.values():
        assert pen_marks(image[::8, ::8]).mean() < 0.002


def test_what_is_out_of_focus_is_left_out(tmp_path, regions):
    image = regions["hgsc_nest"].copy()
    image[:, 950:] = cv2.GaussianBlur(image, (0, 0), 25)[:, 950:]
    tissue = _tissue(tmp_path / "blur.tif", image)
    left, right = tissue.mask[30:-30, 30:105], tissue.mask[30:-30, 135:-35]
    assert left.mean() > 0.85 and right.mean() < 0.15 and tissue.blurred > 0.3


def test_nothing_in_a_uniform_mask_is_out_of_focus():
    grey = np.full((40, 40, 3), 200, np.uint8)
    assert not out_of_focus(grey, np.zeros((40, 40), bool), 5, 0.3).any()


def test_a_slide_of_glass_has_no_tissue(tmp_path):
    glass = np.random.default_rng(0).integers(238, 246, (600, 600, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="glass.tif has no tissue"):
        _tissue(tmp_path / "glass.tif", glass)
