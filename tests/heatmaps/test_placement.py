import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from tests.conftest import averaging
from utils.heatmaps import StretchedMaps, explain
from utils.heatmaps.placement import place, stretch_errors
from utils.networks import BACKBONES, Axis, Model, positions


def axes(first, step, count):
    return (Axis(first, step, 1, count), Axis(first + 2, step, 1, count + 1))


@pytest.mark.parametrize(("first", "step"), [(37, 32), (4.5, 7), (0, 1)])
def test_against_scipy(first, step):
    maps = np.random.default_rng(0).random((3, 5, 6), dtype=np.float32)
    size = (150, 171)
    placed = place(maps, axes(first, step, 5), size)
    rows, columns = (np.arange(n) for n in size)
    grid = np.meshgrid((rows - first) / step, (columns - first - 2) / step, indexing="ij")
    for heat, coarse in zip(placed, maps, strict=True):
        expected = map_coordinates(coarse, grid, order=1, mode="nearest")
        np.testing.assert_allclose(heat, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"maps are \(5, 6\), but the layer has \(4, 5\)"):
        place(maps, axes(first, step, 4), size)


def test_published_errors_of_stretching():
    """Of InceptionV3 at 224 pixels: 37, 69, ... 165 against 21.9 ... 201.1."""
    axis = Axis(37, 32, 1311, 5)
    errors = stretch_errors((axis, axis), (224, 224))
    np.testing.assert_allclose(errors, [[15.1, -36.1]] * 2, atol=0.01)


def test_a_stretched_map_says_by_how_much_it_is_off(tiny_classifier, images):
    options = {"methods": ["gradcam"], "placement": "stretched"}
    with pytest.warns(StretchedMaps, match=r"late: .* \+1.5 \(first .* to \+1.5 \(last"):
        explain(tiny_classifier, images, **options)


@pytest.fixture(scope="module")
def pointing_models():
    """Networks that take the middle of each kernel, so that a position sees little else."""
    networks = {name: BACKBONES[name] for name in ("inceptionv3", "densenet121")}
    return {
        name: Model(averaging(backbone.build(), middle=True), backbone, "random", "test", "")
        for name, backbone in networks.items()
    }


@pytest.mark.parametrize("backbone", ["inceptionv3", "densenet121"])
@pytest.mark.parametrize("size", [150, 171, 200, 224])
def test_a_nucleus_is_found_where_it_is(pointing_models, backbone, size):
    model = pointing_models[backbone]
    layer = model.cam_layer
    network = model.submodel([layer])
    (axis, _) = located = positions(model, layer, (size, size))
    last = axis.first + (axis.count - 1) * axis.step
    generator = np.random.default_rng(size)
    ends = max(axis.first - axis.step / 2, 0), min(last + axis.step / 2, size - 1)
    places = generator.uniform(*ends, (50, 2))
    y, x = np.mgrid[:size, :size]
    inputs = np.zeros((50, size, size, 3), np.float32)
    for image, (row, column) in zip(inputs, places, strict=True):
        image[(y - row) ** 2 + (x - column) ** 2 < 10**2] = 1
    answer = network(inputs, training=False)[layer].numpy().mean(axis=-1)
    for heat, where in zip(place(answer, located, (size, size)), places, strict=True):
        found = np.argwhere(heat == heat.max())  # several beyond the outer centres, where all tie
        assert np.abs(found - where).max(axis=1).min() <= axis.step / 2 + 0.5


def test_turns_are_averaged(tiny_classifier, images):
    options = {"methods": ["gradcam", "gradient*input"], "modifier": "signed", "turns": True}
    maps = explain(tiny_classifier, images, **options)
    turned = explain(tiny_classifier, np.rot90(images, axes=(1, 2))[:, :, ::-1].copy(), **options)
    wide = explain(tiny_classifier, images[:, :12], **options)
    mirrored = explain(tiny_classifier, images[:, 11::-1].copy(), **options)
    plain = explain(tiny_classifier, images, **{**options, "turns": False})
    for name, heat in maps.items():
        back = np.rot90(turned[name][:, :, ::-1], -1, axes=(1, 2))
        np.testing.assert_allclose(heat, back, atol=1e-5)
        np.testing.assert_allclose(wide[name], mirrored[name][:, ::-1], atol=1e-5)
        assert np.abs(heat - plain[name]).max() > 0.1
