import numpy as np
import pytest
import tensorflow as tf

from utils.networks import layer_features
from utils.optvis import objectives, recipes
from utils.optvis.crops import Crops
from utils.optvis.maco import imagenet_spectrum, measure_spectrum, phase_image, resize_spectrum
from utils.optvis.param import COLOR_MATRIX, decorrelated_logits
from utils.optvis.render import ascend
from utils.patches import to_uint8


@pytest.fixture(scope="module")
def spectrum():
    return imagenet_spectrum()


def test_images_have_the_magnitudes_that_are_given(spectrum):
    image = phase_image(64, 3, spectrum=spectrum, seed=4)
    pixels = image().numpy().astype(float)
    colors = np.log(pixels / (1 - pixels)) @ np.linalg.inv(COLOR_MATRIX).T
    planes = np.moveaxis(colors, -1, 1)
    assert np.abs(planes.mean(axis=(1, 2, 3))).max() < 1e-3
    magnitudes = np.abs(np.fft.rfft2(planes))[..., 1:-1]  # the outer columns are not free
    given = resize_spectrum(spectrum, 64)[..., 1:-1]
    scale = np.median(magnitudes / given, axis=(1, 2, 3), keepdims=True)
    error = np.abs(magnitudes / scale - given)  # sigmoids are of 24 bits
    assert (error < 1e-3 * given + 2e-4 * given.max()).all()
    one = phase_image(64, spectrum=7 * spectrum, seed=5)().numpy()
    np.testing.assert_allclose(one[0], image().numpy()[1], atol=1e-4)  # whatever the scale


def test_the_gradient_of_phases_against_finite_differences(spectrum):
    image, generator = phase_image(16, spectrum=spectrum), np.random.default_rng(0)
    weights = generator.normal(size=(1, 16, 16, 3)).astype(np.float32)
    (phase,) = image.variables
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(weights * image.render(image.variables))
    gradient = tape.gradient(value, phase).numpy()
    way = generator.normal(size=phase.shape).astype(np.float32)
    ends = [tf.reduce_sum(weights * image.render([phase + e * way])) for e in (1e-3, -1e-3)]
    difference = float(ends[0] - ends[1]) / 2e-3
    assert np.sum(gradient * way) == pytest.approx(difference, rel=0.02)


def test_a_spectrum_is_the_mean_magnitude_of_patches(sample):
    images = sample.images[::40]
    expected = np.abs(np.fft.rfft2(decorrelated_logits(images))).mean(axis=0)
    measured = measure_spectrum(images, chunk=7)
    np.testing.assert_allclose(measured, expected, rtol=1e-4)
    side = images.shape[1]
    assert measured.shape == (3, side, side // 2 + 1) and measured.dtype == np.float32
    assert phase_image(32, spectrum=measured)().shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s[0], "shape"),
        (lambda s: s[:, :, :-1], r"expected \(3, h, h // 2 \+ 1\)"),
        (lambda s: s * np.nan, "no numbers"),
        (lambda s: -s, "negative"),
        (lambda s: 0 * s, "only zeros"),
    ],
)
def test_other_spectra_are_refused(spectrum, change, message):
    with pytest.raises(ValueError, match=message):
        phase_image(32, spectrum=change(spectrum))
    with pytest.raises(ValueError, match="float32.*of uint8"):
        measure_spectrum(np.zeros((1, 8, 8, 3), np.float32))


def test_an_ascent_raises_the_objective_and_says_where_it_looked(tiny_model, spectrum):
    crops = Crops(count=4, size=16, sides=(0.7, 0.7), noise=0.02)
    recipe = recipes.maco(spectrum, steps=40, crops=crops)
    channels = [objectives.channel("late", number) for number in (0, 2)]
    images = recipe.start(2, size=24)
    arguments = tiny_model, channels, lambda: images, recipe.crops, recipe.optimizer()
    rendering = ascend(*arguments, thresholds=[40], transparency=True)
    before, after = (
        layer_features(tiny_model, to_uint8(x))["late"][[0, 1], [0, 2]]
        for x in (recipe.start(2, size=24)().numpy(), rendering.images[-1])
    )
    assert (after > before).all()
    assert rendering.transparency.shape == (2, 24, 24) and (rendering.transparency >= 0).all()
    assert rendering.transparency.max() > 0
    rendered = recipes.render_channels({"it": tiny_model}, {"late": [0, 2]}, recipe, size=24)
    singly = recipes.render_channels(
        {"it": tiny_model}, {"late": [0, 2]}, recipe, size=24, batch_size=1
    )
    np.testing.assert_allclose(rendered["it"]["late"], singly["it"]["late"], atol=1e-3)
