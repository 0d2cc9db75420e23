"""What figures of concepts draw: the data in their artists."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from utils.concepts.reuse import VARIANTS
from utils.results import figures
from utils.results.figures.style import NETWORK_STYLES

LAYERS = ["a", "b", "c"]
NETWORKS = ["random", "pretrained", "finetuned"]


@pytest.fixture
def held_out():
    """R2 of two concepts, whose values name network, layer and concept."""
    rows = [
        (network, layer, concept, i / 10 + j / 100 + k / 1000, -0.5, 0.9, -0.1, 0.1)
        for i, network in enumerate(NETWORKS)
        for j, layer in enumerate(LAYERS)
        for k, concept in enumerate(("contrast", "ASM"))
    ]
    names = ["network", "layer", "concept", "r2", "low", "high", "null_low", "null_high"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(adjusted_r2=table["r2"] - 0.2)


def _lines(axes):
    """Curves with a label, by label."""
    return {x.get_label(): x.get_ydata() for x in axes.lines if not x.get_label().startswith("_")}


def test_distributions_of_measures_are_by_class():
    measures = pd.DataFrame({"x": [0.0, 0, 1, 1], "y": [3.0, 2, 1, 0]})
    labels = np.array([0, 0, 1, 1])
    figure = figures.measures_overview(measures, labels, ("normal", "tumor"), title="t")
    left, right = figure.subfigs
    for axes, name in zip(left.axes, ("x", "y"), strict=False):
        assert axes.get_title() == name
        heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
        assert [sum(of_class) for of_class in heights] == [2, 2]
    (shown,) = right.axes[0].get_images()
    np.testing.assert_allclose(shown.get_array(), measures.corr())
    assert "4 patches" in figure.get_suptitle()


def test_r2_is_drawn_by_concept_in_sample_and_held_out(held_out):
    baselines = pd.DataFrame({"layer": ["colours"], "concept": ["ASM"], "r2": [0.33]})
    figure = figures.r2_panels(held_out, held_out, baselines, title="t")
    grid = np.reshape(figure.axes, (2, 2))
    for k, (concept, (left, right)) in enumerate(zip(("contrast", "ASM"), grid, strict=True)):
        assert left.get_ylabel() == concept
        for i, network in enumerate(NETWORKS):
            expected = i / 10 + np.arange(3) / 100 + k / 1000
            np.testing.assert_allclose(_lines(left)[network], expected)
            np.testing.assert_allclose(_lines(right)[network], expected)
        assert right.collections[0].get_label() == "permuted groups"
    assert "groups" in grid[0, 1].get_title()
    assert set(_lines(grid[1, 1])["colours"]) == {0.33} and "colours" not in _lines(grid[0, 1])


def test_seeds_of_a_network_are_averaged_within_the_widest_interval(held_out):
    other = held_out.assign(r2=held_out["r2"] + 0.2, low=-0.7, high=1.0)
    seeds = pd.concat([held_out.assign(seed=0), other.assign(seed=1)])
    none = pd.DataFrame(columns=["layer", "concept", "r2"])
    right = figures.r2_panels(seeds, seeds, none).axes[1]
    expected = held_out[held_out["network"] == "random"].groupby("layer")["r2"].first() + 0.1
    np.testing.assert_allclose(_lines(right)["random"], expected)
    band = next(c for c in right.collections[1:] if c.get_facecolor()[0, 3] < 0.16)
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((-0.7, 1.0))


def test_learning_curves_are_means_over_concepts(held_out):
    table = pd.concat([held_out.assign(patches=p, r2=held_out["r2"] + p / 100) for p in (10, 20)])
    figure = figures.learning_curves(table, title="t")
    assert [axes.get_title() for axes in figure.axes] == LAYERS
    for j, axes in enumerate(figure.axes):
        for i, network in enumerate(NETWORKS):
            start = i / 10 + j / 100 + 0.0005
            np.testing.assert_allclose(_lines(axes)[network], [start + 0.1, start + 0.2])


def test_relevance_has_stars_where_both_tests_reject():
    rows = [
        (network, layer, concept, br, q, q)
        for network in ("pretrained", "finetuned")
        for layer, br, q in (("a", -1.5, 0.01), ("b", 0.5, 0.2), ("c", np.nan, np.nan))
        for concept in ("contrast", "ASM")
    ]
    columns = ["network", "layer", "concept", "br", "q_random", "q_permuted"]
    table = pd.DataFrame(rows, columns=columns)
    only_one = (table["network"] == "finetuned") & (table["concept"] == "ASM")
    table.loc[only_one, "q_permuted"] = 0.5
    figure = figures.relevance_map(table, title="t")
    stars = {"pretrained": [(0, 0), (0, 1)], "finetuned": [(0, 0)]}
    for axes, network in zip(figure.axes, stars, strict=False):
        assert axes.get_title() == network
        values = axes.get_images()[0].get_array().filled(np.nan)
        np.testing.assert_allclose(values, [[-1.5, 0.5, np.nan]] * 2)
        assert [text.get_position() for text in axes.texts] == stars[network]
        assert axes.get_images()[0].get_clim() == (-1.5, 1.5)


def test_reuse_shows_r2_cka_and_transplants(held_out):
    rows = [
        ("pretrained", other, x, v, v - 0.1, v + 0.1)
        for other, v in (("finetuned", 0.9), ("random", 0.4))
        for x in LAYERS
    ]
    cka = pd.DataFrame(rows, columns=["one", "other", "layer", "cka", "low", "high"])
    rows = [("", "finetuned", 5.0), ("", "pretrained", 3.0)]
    rows += [(x, name, 4.0 + i) for name in VARIANTS for i, x in enumerate(LAYERS)]
    transplants = pd.DataFrame(rows, columns=["layer", "variant", "margin"])
    transplants = transplants.assign(low=transplants["margin"] - 1, high=transplants["margin"] + 1)
    top, middle, bottom = figures.reuse(held_out, cka, transplants, title="t").axes
    means = held_out[held_out["network"] == "pretrained"].groupby("layer")["r2"].mean()
    np.testing.assert_allclose(_lines(top)["pretrained"], means)
    np.testing.assert_allclose(_lines(middle)["pretrained and finetuned"], [0.9] * 3)
    np.testing.assert_allclose(_lines(middle)["pretrained and random"], [0.4] * 3)
    assert [bars.get_label() for bars in bottom.containers] == list(VARIANTS)
    bars = bottom.containers[0]
    np.testing.assert_allclose(bars.lines[0].get_ydata(orig=False), [4, 5, 6])
    whole = {name: y[0] for name, y in _lines(bottom).items()}
    assert whole == {"finetuned, whole": 5, "pretrained, whole": 3}
    colors = {line.get_label(): line.get_color() for line in middle.lines}
    assert colors["pretrained and random"] == NETWORK_STYLES["random"]["color"]
    assert to_rgba(colors["pretrained and finetuned"]) == to_rgba(
        NETWORK_STYLES["finetuned"]["color"]
    )


def test_effects_are_drawn_with_intervals_and_by_class(held_out):
    table = held_out[held_out["network"] != "random"].assign(seed=0)
    table = table.assign(size=table["r2"], size_low=-0.1, size_high=0.6)
    table = table.assign(size_class_0=table["r2"] - 0.05, size_class_1=table["r2"] + 0.05)
    figure = figures.concept_effects(table, title="t")
    assert [axes.get_title() for axes in figure.axes] == ["contrast", "ASM"]
    axes = figure.axes[1]
    curves = {bars.get_label(): bars.lines[0].get_ydata(orig=False) for bars in axes.containers}
    np.testing.assert_allclose(curves["finetuned"], [0.201, 0.211, 0.221])
    points = np.concatenate(
        [dots.get_offsets() for dots in axes.collections if len(dots.get_offsets()) == 3]
    )
    assert {0.151, 0.251} <= set(np.round(points[:, 1], 3))


def test_layers_are_named_under_every_column(held_out):
    three = [held_out, held_out[held_out["concept"] == "ASM"].assign(concept="energy")]
    table = pd.concat(three, ignore_index=True)
    figure = figures.entanglement(table, table[table["network"] != "random"])
    figure.draw_without_rendering()
    first, second, third, empty = figure.axes
    named = [axes.xaxis.get_tick_params()["labelbottom"] for axes in (first, second, third)]
    assert named == [False, True, True] and not empty.axison


def test_entanglement_shows_what_the_others_leave(held_out):
    partial = held_out[held_out["network"] != "random"]
    partial = partial.assign(r2=partial["r2"] - 0.05)
    figure = figures.entanglement(held_out, partial, title="t")
    curves = _lines(figure.axes[0])
    np.testing.assert_allclose(curves["finetuned"], [0.2, 0.21, 0.22])
    np.testing.assert_allclose(curves["finetuned, beyond the others"], [0.15, 0.16, 0.17])
    assert "random" not in curves
    low = figures.entanglement(held_out, partial.assign(r2=-9.0))
    assert set(_lines(low.axes[0])["finetuned, beyond the others"]) == {-0.25}


def test_tumor_by_layer_draws_one_curve_per_kind_of_network():
    rows = [
        (network, layer, value + i / 10, value - 0.1, value + 0.1 * (1 + len(network)))
        for network, value in (("random", 0.5), ("random 2", 0.7), ("finetuned", 0.6))
        for i, layer in enumerate(LAYERS)
    ]
    table = pd.DataFrame(rows, columns=["network", "layer", "balanced_accuracy", "low", "high"])
    (axes,) = figures.tumor_by_layer(table, title="t").axes
    curves = {bars.get_label(): bars for bars in axes.containers}
    assert set(curves) == {"random", "finetuned"}
    np.testing.assert_allclose(curves["random"].lines[0].get_ydata(orig=False), [0.6, 0.7, 0.8])
    lowest = [segment[0, 1] for segment in curves["random"].lines[2][0].get_segments()]
    np.testing.assert_allclose(lowest, [0.4] * 3)  # the widest interval
    assert [tick.get_text() for tick in axes.get_xticklabels()] == LAYERS


def test_unsound_layers_are_grey(held_out):
    figures.grey_layers(["b"])
    try:
        axes = figures.r2_panels(held_out, held_out, held_out[:0]).axes[-1]
    finally:
        figures.grey_layers([])
    colors = {label.get_text(): label.get_color() for label in axes.get_xticklabels()}
    assert colors["b"] == "#909090" and colors["a"] != "#909090"
    sound = figures.r2_panels(held_out, held_out, held_out[:0]).axes[-1]
    assert len(axes.patches) == len(sound.patches) + 1
