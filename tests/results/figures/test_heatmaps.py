from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from utils.patches import PatchSet
from utils.results import figures
from utils.results.figures import overlay


def test_overlay(images):
    maps = np.zeros(images.shape[:3], np.float32)
    maps[:, :8] = 1
    pictures = overlay(images, maps, opacity=1.0)
    assert (
        pictures[0, 0, 0, 0] > 100 > pictures[0, 0, 0, 2]
    )  # jet: red at the top, blue at the bottom
    assert pictures[0, 15, 0, 2] > 100 > pictures[0, 15, 0, 0]
    np.testing.assert_array_equal(overlay(images, maps, opacity=0.0), images)
    with pytest.raises(ValueError, match="jet, cividis"):
        overlay(images, maps, colormap="rainbow")
    with pytest.raises(ValueError, match="they differ"):
        overlay(images, maps[:2])
    for value in (-0.5, np.nan, 1.5):
        with pytest.raises(ValueError, match=r"expected finite values in \[0, 1\] for jet"):
            overlay(images, np.where(maps > 0, np.float32(value), maps))
    signed = overlay(images, np.where(maps > 0, maps, -maps - 1), colormap="PuOr_r", opacity=1.0)
    assert signed[0, 0, 0, 0] > signed[0, 0, 0, 2]  # orange for, purple against
    assert signed[0, 15, 0, 0] < signed[0, 15, 0, 2]


@pytest.fixture
def localised():
    """Four measures of two methods, of three networks and of two maps of no network."""
    maps = [(n, m, "late") for n in ("finetuned", "pretrained", "random") for m in METHODS]
    maps += [("", "uniform", ""), ("", "centre", "")]
    rows = [
        (*key, measure, i + j / 10, i + j / 10 - 0.2, i + j / 10 + 0.1, 5)
        for i, key in enumerate(maps)
        for j, measure in enumerate(MEASURES)
    ]
    columns = ["network", "method", "layer", "measure", "mean", "low", "high", "groups"]
    return pd.DataFrame(rows, columns=columns)


METHODS = ("gradcam", "gradcam++")
MEASURES = {name: (f"title of {name}", f"unit of {name}") for name in "abcd"}


@pytest.mark.parametrize("count", [1, 3, 4])
def test_localization_draws_as_many_measures_as_it_is_given(localised, count):
    measures = dict(list(MEASURES.items())[:count])
    figure = figures.localization(localised, measures, title="t")
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in drawn] == [title for title, _ in measures.values()]
    assert [axes.get_ylabel() for axes in drawn] == [unit for _, unit in measures.values()]
    names = ["Grad-CAM, late", "Grad-CAM++, late"]
    figure.canvas.draw()
    for axes in drawn[-2:]:  # the lowest of each column
        assert [tick.get_text() for tick in axes.get_xticklabels() if tick.get_visible()] == names
    for j, axes in enumerate(drawn):
        points = {c.get_label(): c.lines[0].get_ydata(orig=False) for c in axes.containers}
        np.testing.assert_allclose(points["finetuned"], [j / 10, 1 + j / 10])
        np.testing.assert_allclose(points["random"], [4 + j / 10, 5 + j / 10])
        across = {x.get_label(): x.get_ydata()[0] for x in axes.lines if "map" in x.get_label()}
        assert across == pytest.approx({"uniform map": 6 + j / 10, "centre map": 7 + j / 10})
    assert "5 groups" in figure.get_suptitle()


def test_localization_draws_networks_and_methods_without_a_style(localised):
    more = localised[localised["network"] == "finetuned"].assign(network="of a colleague")
    table = pd.concat([localised, more]).replace({"method": {"gradcam++": "scorecam"}})
    axes = figures.localization(table, MEASURES).axes[-1]
    assert len({c.lines[0].get_xdata(orig=False)[0] for c in axes.containers}) == 4
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "Grad-CAM, late",
        "scorecam, late",
    ]


def test_prediction_curves_are_means_with_their_own_means_beside_them():
    rows = [
        (method, curve, patch, share, share * scale + patch / 10)
        for method, scale in (("gradcam", 0.5), ("centre", 0.2))
        for curve in ("insertion", "deletion")
        for patch in (0, 1)
        for share in (0.0, 0.5, 1.0)
    ]
    curves = pd.DataFrame(rows, columns=["method", "curve", "patch", "share", "logit"])
    rows = [
        (m, c, 0.25, 0.1, 0.4) for m in ("gradcam", "centre") for c in ("insertion", "deletion")
    ]
    areas = pd.DataFrame(rows, columns=["method", "measure", "mean", "low", "high"])
    figure = figures.prediction_curves(curves, areas, title="t")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["insertion, highest first", "deletion, highest first"]
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_allclose(lines["Grad-CAM"].get_ydata(), [0.05, 0.3, 0.55])
        np.testing.assert_allclose(lines["centre map"].get_ydata(), [0.05, 0.15, 0.25])
        means = [bars.lines[0].get_ydata()[0] for bars in axes.containers]
        assert means == [0.25, 0.25]


def test_similarity_of_maps_stands_between_ceiling_and_floor():
    rows = [
        (method, place, measure, order, i / 10 + j / 100, 0.0, 1.0)
        for i, method in enumerate(("gradcam", "mine"))
        for j, place in enumerate(("another patch", "late", "none", "jitter"))
        for measure in ("spearman", "ssim")
        for order in ("down", "up")
    ]
    table = pd.DataFrame(
        rows, columns=["method", "kept", "measure", "order", "mean", "low", "high"]
    )
    about = {"ceiling": ["jitter"], "floor": ["another patch"], "xlabel": "x"}
    figure = figures.map_similarity(table, "kept", **about)
    assert [axes.get_xlabel() for axes in figure.axes] == ["x down", "x down", "x up", "x up"]
    for axes in figure.axes:
        ticks = [tick.get_text() for tick in axes.get_xticklabels()]
        assert ticks == ["jitter", "", "late", "none", "", "another patch"]
        points = {c.get_label(): c.lines[0].get_ydata(orig=False) for c in axes.containers}
        np.testing.assert_allclose(points["mine"], [0.13, np.nan, 0.11, 0.12, np.nan, 0.1])
    alone = figures.map_similarity(
        table[table["order"] == "up"].drop(columns="order"), "kept", **about
    )
    assert len(alone.axes) == 2


def test_ranking_shows_every_group_of_the_map_and_of_its_rivals():
    rows = [
        (rival, group, 0.9 + i / 100, 0.5 + i / 100, 0.4)
        for rival in ("pretrained network", "centre")
        for i, group in enumerate("abc")
    ]
    columns = ["rival", "group", "auroc", "rival_auroc", "difference"]
    differences = pd.DataFrame(rows, columns=columns)
    rows = [("pretrained network", 0.4, 0.3, 0.6), ("centre", 0.4, 0.2, 0.5)]
    comparison = pd.DataFrame(rows, columns=["rival", "difference", "low", "high"])
    figure = figures.neoplastic_ranking(differences, comparison, title="t")
    ranks, leads = figure.axes
    names = [tick.get_text() for tick in ranks.get_yticklabels()]
    assert names == ["finetuned network", "pretrained network", "centre map"]
    groups = [line.get_xdata() for line in ranks.lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(groups, [[0.9, 0.91, 0.92], [0.5, 0.51, 0.52], [0.5, 0.51, 0.52]])
    bars = [bar.lines[2][0].get_segments()[0][:, 0] for bar in leads.containers]
    np.testing.assert_allclose(bars, [[0.3, 0.6], [0.2, 0.5]])


def test_explanations_have_one_row_per_patch_and_one_column_per_method():
    generator = np.random.default_rng(0)
    images, overlays, outlines = generator.integers(0, 256, (3, 2, 8, 8, 3), dtype=np.uint8)
    figure = figures.explanations(
        images, {"gradcam": overlays, "mine": overlays}, ["p = 1", "p = 2"], outlines=outlines
    )
    grid = np.reshape(figure.axes[:8], (2, 4))
    assert [axes.get_title() for axes in grid[0][1:]] == ["Grad-CAM", "mine", "neoplastic nuclei"]
    for index, row in enumerate(grid):
        assert row[0].get_title(loc="left") == f"p = {index + 1}"
        shown = [axes.get_images()[0].get_array() for axes in row]
        expected = [part[index] for part in (images, overlays, overlays, outlines)]
        np.testing.assert_array_equal(shown, expected)
    without = figures.explanations(images, {"gradcam": overlays}, ["", ""])
    assert len(without.axes) == 2 * 2 + 1  # and the scale


def test_the_patch_of_a_card_lies_where_the_page_puts_another():
    picture = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    figure = figures.overlay_card(picture, "Grad-CAM\ntumor")
    figure.canvas.draw()
    axes = figure.axes[0]
    left, top, width, height = figures.CARD_INSET
    box = axes.get_window_extent().transformed(figure.transFigure.inverted())
    found = (box.x0, 1 - box.y1, box.width, box.height)
    np.testing.assert_allclose(found, (left, top, width, height), atol=1e-6)
    np.testing.assert_array_equal(axes.get_images()[0].get_array(), picture)


def test_outlines_follow_the_neoplastic_nuclei():
    image = np.zeros((1, 20, 20, 3), np.uint8)
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 5:10, 5:10], mask[0, 15:18, 15:18] = 3, 2
    patches = PatchSet(image, np.ones(1), *(np.array(["a"]),) * 2, np.zeros((1, 2)), mask)
    drawn = figures.outline_neoplastic(patches)[0].any(axis=-1)
    assert drawn[5, 5:10].all() and not drawn[7, 7] and not drawn[13:].any()
    assert not image.any()
    assert figures.outline_neoplastic(replace(patches, masks=None)) is None


def test_the_random_map_is_not_called_as_the_random_network():
    assert figures.title_of("random") == "random map"
