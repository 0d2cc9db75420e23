import matplotlib
import numpy as np

from utils.results.figures import (
    accentuations,
    atlas_by_network,
    discovered_concepts,
    exemplars_beside,
    priors_by_network,
)

GENERATOR = np.random.default_rng(0)


def test_each_network_has_a_row_per_prior():
    images = {
        prior: {network: GENERATOR.random((3, 8, 8, 3)) for network in ("before", "after")}
        for prior in ("ImageNet", "tissue")
    }
    figure = priors_by_network(images, ["channel 1", "channel 5", "channel 9"], title="priors")
    grid = np.reshape(figure.axes, (4, 3))
    labels = [row[0].get_ylabel().replace("\n", " ") for row in grid]
    assert labels == [
        "before, spectrum of ImageNet",
        "before, spectrum of tissue",
        "after, spectrum of ImageNet",
        "after, spectrum of tissue",
    ]
    shown = grid[2, 1].images[0].get_array()
    np.testing.assert_array_equal(shown, images["ImageNet"]["after"][1])
    assert [axes.get_title() for axes in grid[0]] == ["channel 1", "channel 5", "channel 9"]


def test_differences_are_of_brightness_on_one_scale():
    patches = GENERATOR.integers(0, 256, (2, 8, 8, 3), np.uint8)
    images = patches / 255
    images[0] = np.clip(images[0] + 0.1, 0, 1)
    figure = accentuations(patches, images, ["a", "b"], title="t")
    grid = np.reshape(figure.axes[:6], (3, 2))
    changes = [axes.images[0].get_array() for axes in grid[2]]
    np.testing.assert_allclose(changes[0], (255 * images[0] - patches[0]).mean(axis=-1))
    np.testing.assert_allclose(changes[1], 0, atol=1e-9)
    limits = {axes.images[0].get_clim() for axes in grid[2]}
    assert len(limits) == 1 and limits.pop()[1] == np.abs(changes[0]).max()


def test_exemplars_stand_beside_their_image():
    images = GENERATOR.random((2, 8, 8, 3))
    crops = [[np.full((4, 6, 3), 10 * k + n, np.uint8) for n in range(3 - k)] for k in range(2)]
    scores = {"activation": crops, "relevance": crops}
    figure = exemplars_beside(images, scores, ["channel 1", "channel 2"], count=3)
    grid = np.reshape(figure.axes, (2, 7))
    assert [axes.get_title() for axes in grid[0]] == [
        "channel image",
        "by activation",
        "",
        "",
        "by relevance",
        "",
        "",
    ]
    assert (grid[1, 5].images[0].get_array() == 11).all() and not grid[1, 6].images


def test_cells_are_framed_by_their_share_of_tumor():
    images = {name: np.ones((2, 2, 32, 32, 3), np.float32) for name in ("before", "after")}
    images["before"][0, 1] = 0.5
    shares = {name: np.full((2, 2), np.nan) for name in images}
    shares["before"][0, 1] = 1.0
    figure = atlas_by_network(images, shares)
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    assert canvas.shape == (72, 72, 3)
    np.testing.assert_allclose(canvas[0, 36], matplotlib.colormaps["cividis"](1.0)[:3], atol=1e-6)
    np.testing.assert_allclose(canvas[10, 50], 0.5)
    assert (canvas[:, :36] == 1).all()


def test_concepts_have_their_image_crops_and_maps():
    pictures = np.arange(2)[:, None, None, None] * np.ones((1, 4, 4, 3), np.float32)
    crops = [np.full((n, 5, 5, 3), n, np.uint8) for n in (4, 3)]
    overlays = [np.full((2, 6, 6, 3), 40 + k, np.uint8) for k in range(2)]
    figure = discovered_concepts(pictures, crops, overlays, ["first", "second"])
    grid = np.reshape(figure.axes, (2, 7))
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["first", "second"]
    assert (grid[1, 0].images[0].get_array() == 1).all()
    assert [len(axes.images) for axes in grid[1]] == [1, 1, 1, 1, 1, 1, 0]
    assert (grid[0, 6].images[0].get_array() == 40).all()
    assert grid[0, 5].get_title() == "where it lies"
