"""What figures of channels draw: the data in their artists."""

import numpy as np
import pandas as pd
import pytest

from utils.results import figures


def _shown(axes):
    """The pictures of a grid of axes, in order."""
    return [image.get_array() for one in axes for image in one.get_images()]


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((5, 8, 8, 3)).astype(np.float32)


def test_patchwork_has_every_image_under_its_title(pictures):
    figure = figures.patchwork(pictures, list("abcde"), columns=3, title="whole")
    filled = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title() for axes in filled] == list("abcde") and len(figure.axes) == 6
    for drawn, picture in zip(_shown(figure.axes), pictures, strict=True):
        np.testing.assert_array_equal(drawn, picture)
    assert figure.get_suptitle() == "whole"


def test_overview_has_one_block_per_network_and_one_row_per_layer(pictures):
    networks = {name: {"a": pictures[:2], "b": pictures[2:4]} for name in ("x", "y")}
    figure = figures.channel_overview(networks, {"a": [3, 40], "b": [7, 8]})
    assert [part.get_suptitle() for part in figure.subfigs] == ["x", "y"]
    for part in figure.subfigs:
        assert [axes.get_title() for axes in part.axes] == ["3", "40", "7", "8"]
        assert [axes.get_ylabel() for axes in part.axes] == ["a", "", "b", ""]
        np.testing.assert_array_equal(_shown(part.axes), pictures[:4])


def test_images_unlike_any_patch_are_framed_and_the_title_says_so(pictures):
    networks = {name: {"a": pictures[:2]} for name in ("x", "y")}
    plain = figures.channel_overview(networks, {"a": [3, 40]}, title="t")
    assert plain.get_suptitle() == "t"
    figure = figures.channel_overview(networks, {"a": [3, 40]}, unlike={("y", "a", 3)}, title="t")
    assert [[axes.get_frame_on() for axes in part.axes] for part in figure.subfigs] == [
        [False, False],
        [True, False],
    ]
    assert figure.get_suptitle().startswith("t\nframed")
    everything = {(name, "a", number) for name in networks for number in (3, 40)}
    figure = figures.channel_overview(networks, {"a": [3, 40]}, unlike=everything, title="t")
    assert not any(axes.get_frame_on() for part in figure.subfigs for axes in part.axes)
    assert figure.get_suptitle().startswith("t\nall of these images")
    patches = [np.zeros((1, 6, 6, 3), np.uint8)] * 2
    figure = figures.channels_with_patches(pictures[:2], patches, ["1", "2"], unlike=[False, True])
    assert [axes.get_frame_on() for axes in figure.axes] == [False, False, True, False]


def test_channels_stand_beside_their_patches(pictures):
    patches = [np.full((n, 6, 6, 3), 25 * n, np.uint8) for n in (9, 4, 1)]
    figure = figures.channels_with_patches(pictures[:3], patches, ["1", "2", "3"])
    shown = _shown(figure.axes)
    np.testing.assert_array_equal(shown[::2], pictures[:3])
    for montage, nine in zip(shown[1::2], patches, strict=True):
        np.testing.assert_array_equal(montage, figures.montage(nine))


def test_montage_fills_a_square_row_by_row():
    patches = np.stack([np.full((10, 10, 3), value, np.uint8) for value in range(1, 5)])
    square = figures.montage(patches, side=5)
    assert square.shape == (15, 15, 3)
    centres = square[2::5, 2::5, 0]
    assert centres.tolist() == [[1, 2, 3], [4, 255, 255], [255, 255, 255]]


def _complexity(networks):
    rows = [
        (layer, measure, network, i + j, i + j - 0.5, i + j + 0.25, 9)
        for i, network in enumerate(networks)
        for j, layer in enumerate(("early", "late"))
        for measure in ("bytes", "slope")
    ]
    rows.append(("early", "bytes", "finetuned - pretrained", 99, 98, 100, 9))
    columns = ["layer", "measure", "network", "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize(
    "networks",
    [
        ["pretrained"],
        ["pretrained", "finetuned", "random"],
        ["pretrained", "mine", "finetuned", "random"],
    ],
    ids=len,
)
def test_complexity_has_a_curve_with_error_bars_per_network(networks):
    table = _complexity(networks)
    figure = figures.complexity_by_layer(table, {"bytes": "PNG size", "slope": "slope"})
    places = set()
    for axes, label in zip(figure.axes, ("PNG size", "slope"), strict=True):
        assert axes.get_ylabel() == label
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["early", "late"]
        containers = {container.get_label(): container for container in axes.containers}
        assert containers.keys() == set(networks)
        for i, network in enumerate(networks):
            line, _, (bars,) = containers[network].lines
            np.testing.assert_allclose(line.get_ydata(orig=False), [i, i + 1])
            ends = [[y for _, y in segment] for segment in bars.get_segments()]
            np.testing.assert_allclose(ends, [[i - 0.5, i + 0.25], [i + 0.5, i + 1.25]])
            places.add(round(float(line.get_xdata(orig=False)[0]), 3))
    assert len(places) == len(networks)  # they do not cover each other
    assert "9 channels" in figure.get_suptitle()


def test_survival_has_one_panel_per_network_asked():
    rows = [
        (layer, name, 0.1 * i + j / 100, 0.0, 1.0)
        for i, layer in enumerate(("early", "late", "all"))
        for j, name in enumerate(("pretrained", "random"))
    ]
    table = pd.DataFrame(rows, columns=["layer", "images", "share", "low", "high"])
    figure = figures.survival_by_layer({"finetuned": table, "pretrained": table}, title="t")
    assert [axes.get_title() for axes in figure.axes] == [
        "finetuned network, images of others",
        "pretrained network, images of others",
    ]
    for axes in figure.axes:
        curves = {bars.get_label(): bars.lines[0].get_ydata(orig=False) for bars in axes.containers}
        np.testing.assert_allclose(curves["random"], [0.01, 0.11])
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["early", "late"]
    reverse = table.replace({"images": {"pretrained": "finetuned"}})
    figure = figures.survival_by_layer({"finetuned": table, "pretrained": reverse})
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(names) == ["finetuned", "pretrained", "random"]


def test_survival_by_dose_has_one_curve_per_layer():
    rows = [
        (layer, dose, 1 - dose / 20 - i / 10, 0.0, 1.0)
        for i, layer in enumerate(("early", "late", "all"))
        for dose in (0, 1, 5)
    ]
    table = pd.DataFrame(rows, columns=["layer", "dose", "share", "low", "high"])
    (axes,) = figures.survival_by_dose(table, title="t").axes
    curves = {bars.get_label(): bars.lines[0].get_ydata(orig=False) for bars in axes.containers}
    assert list(curves) == ["early", "late", "all"]
    np.testing.assert_allclose(curves["late"], [0.9, 0.85, 0.65])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "5"]
    colors = {bars.lines[0].get_color() for bars in axes.containers}
    assert len(colors) == 3


def test_paths_are_drawn_by_network_with_patches_as_ceiling():
    rows = [
        (network, layer, channel, 0.1 * channel + (network == "pretrained"), 2.0)
        for network in ("pretrained", "random")
        for layer in ("early", "late")
        for channel in (1, 3)
    ]
    columns = ["network", "layer", "channel", "path", "path_patches"]
    axes = figures.path_by_layer(pd.DataFrame(rows, columns=columns)).axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert list(drawn["patches (random)"]) == [2, 2]
    means = {bar.get_label(): bar[0].get_ydata() for bar in axes.containers}
    assert list(means["pretrained"]) == pytest.approx([1.2, 1.2])
    assert list(means["random"]) == pytest.approx([0.2, 0.2])
