import numpy as np
import pandas as pd
import pytest

from utils.patches import PatchSet
from utils.results import figures
from utils.results.figures.nuclei import TYPE_COLORS, outline_nuclei
from utils.statistics import intervals


@pytest.fixture
def patches(images):
    nuclei = np.zeros(images.shape[:3], np.int32)
    nuclei[:, 3:8, 3:8], nuclei[:, 10:15, 8:14] = 1, 2
    groups = np.array(list("aabbc"))
    return PatchSet(images, np.ones(5), groups, groups, np.zeros((5, 2)), np.uint8(nuclei), nuclei)


@pytest.fixture
def effects():
    rows = [(p, n, t, g, n - 1.5 + p / 10) for p, g in enumerate("aabbc") for n, t in TYPES.items()]
    table = pd.DataFrame(rows, columns=["patch", "nucleus", "type", "group", "change"])
    return table.assign(control=0.0)


TYPES = {1: "connective", 2: "neoplastic"}


def test_outlines_have_the_colour_of_their_nucleus(patches, effects):
    colors = np.where(effects["nucleus"].to_numpy()[:, None] == 1, (1.0, 0, 0), (0, 0, 1.0))
    pictures = outline_nuclei(patches, effects, colors)
    for picture in pictures:
        np.testing.assert_array_equal(picture[3, 5], (255, 0, 0))
        np.testing.assert_array_equal(picture[10, 10], (0, 0, 255))
        outside = picture[0]  # grey, and pale
        assert (np.ptp(outside.astype(int), axis=-1) == 0).all() and outside.min() >= 128


def test_patchwork_has_one_row_per_patch(patches, effects):
    overlays = {"gradcam": patches.images, "gradcam++": patches.images}
    figure = figures.nuclei_patchwork(patches, overlays, effects, [f"p{i}" for i in range(5)])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert {"Grad-CAM", "Grad-CAM++", "what each adds", "its type"} <= set(titles)
    assert len([axes for axes in figure.axes if axes.images]) == 5 * 5
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "log-odds of tumor that each nucleus adds"
    limit = effects["change"].abs().max()
    assert bar.get_ylim() == pytest.approx((-limit, limit))


def test_effects_are_drawn_at_their_values(effects):
    together = effects.assign(necessity=1.0, sufficiency=effects["change"])
    ranks = effects.assign(method="gradcam", spearman=0.4)
    figure = figures.nuclei_effects(
        effects,
        intervals(effects, ["type"], ["change", "control"]),
        intervals(together, ["type"], ["necessity", "sufficiency"]),
        intervals(ranks, ["method"], ["spearman"]),
        title="t",
    )
    single, whole, correlation = figure.axes
    points = {c.get_label(): c.lines[0].get_ydata(orig=False) for c in single.containers}
    by_group = effects.groupby(["type", "group"])["change"].mean()  # each group counts once
    means = [by_group[name].mean() for name in TYPES.values()]
    np.testing.assert_allclose(points["the nucleus"], means)
    np.testing.assert_allclose(points["its shape, elsewhere"], 0)
    assert [tick.get_text() for tick in single.get_xticklabels()] == [
        "connective\n5",
        "neoplastic\n5",
    ]
    whole_points = [c.lines[0].get_ydata(orig=False) for c in whole.containers]
    np.testing.assert_allclose(whole_points, [[1, 1], means])
    rank = correlation.containers[0].lines[0].get_ydata(orig=False)
    assert rank == pytest.approx([0.4])
    assert set(TYPES.values()) < set(TYPE_COLORS)
