import numpy as np
import pytest
import shapely

from utils.results.figures import slide_maps, slide_patches


def test_maps_lie_on_the_slide():
    """All panels share the extent of the slide, and maps their scale."""
    overview = np.full((40, 60, 3), 240, np.uint8)
    tissue = np.zeros((40, 60), bool)
    tissue[10:30, 10:50] = True
    probability = np.full((20, 30), np.nan, np.float32)
    probability[5:15, 5:25] = 0.5
    contrast = probability * 9
    contrast[5, 5] = 2
    maps = {"probability": probability, "gradcam": contrast - 4.1, "contrast": contrast}
    area = shapely.box(100, 100, 200, 200) - shapely.box(120, 120, 140, 140)
    figure = slide_maps(
        overview, tissue, maps, annotated=area, step=10, microns=0.5, map_step=20, title="slide"
    )
    panels = [axes for axes in figure.axes if axes.get_title()]
    titles = [axes.get_title() for axes in panels]
    assert titles == ["slide, tissue outlined", "probability of tumor", "Grad-CAM", "contrast"]
    assert {axes.get_xlim() for axes in panels} == {(0, 600)}
    assert {axes.get_ylim() for axes in panels} == {(400, 0)}
    limits = [axes.images[0].get_clim() for axes in panels[1:]]
    np.testing.assert_allclose(limits, [(0, 1), (-2.1, 2.1), (2, 4.5)], atol=1e-6)
    assert [text.get_text() for text in panels[0].texts] == ["50 µm"]
    (bar,) = (line for line in panels[0].lines if line.get_linewidth() == 3)
    assert np.ptp(bar.get_xdata()) == pytest.approx(100)
    # Two rings, each black on white, on every panel.
    assert all(len(axes.lines) - (axes is panels[0]) == 4 for axes in panels)


def test_patches_lie_on_the_slide():
    tissue = np.zeros((40, 60), bool)
    tissue[10:30, 10:50] = True
    overview, corners = np.full((40, 60, 3), 240, np.uint8), np.array([[0, 0], [50, 70], [100, 0]])
    figure = slide_patches(
        overview, tissue, corners, np.array([0, 1, 1]), side=50, step=10, microns=0.5, title="s"
    )
    (axes,) = figure.axes
    normal, tumor = axes.collections[-2:]
    boxes = [path.get_extents().bounds for path in tumor.get_paths()]
    assert boxes == [(50, 70, 50, 50), (100, 0, 50, 50)] and len(normal.get_paths()) == 1
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["1 normal patches of 25 µm", "2 tumor patches of 25 µm", "tissue"]
