from functools import partial

import numpy as np
import pytest

from utils.lucid_bridge import aligned_images, import_lucid, render, render_all, render_channels
from utils.lucid_bridge.rendering import activations

VECTOR = np.linspace(-1, 1, 8, dtype=np.float32)


def test_activation_grid(optvis, model, images):
    cells = activations(model, images[:1, :32, :32], "second")[0, ::14, ::14].reshape(-1, 8)
    directions = [optvis.objectives.direction("second", v, batch=i) for i, v in enumerate(cells)]
    grid = render(
        model,
        optvis.objectives.Objective.sum(directions),
        lambda: optvis.param.image(32, batch=len(cells)),
        steps=20,
        transforms=[],
        progress=False,
    )
    reached = activations(model, grid, "second")
    products = np.einsum("nhwc,mc->nm", reached, cells)
    assert len(cells) == 4 and (products.diagonal() > 0).all()


def test_aligned_images_share_what_is_coarse(optvis, model):
    objective = optvis.objectives.channel_interpolate("second", 1, "second", 2)
    aligned, alone = partial(aligned_images, 32, 3), partial(optvis.param.image, 32, batch=3)
    images = render(model, objective, aligned, steps=30, progress=False)
    assert images.shape == (3, 32, 32, 3) and 0 <= images.min() < images.max() <= 1
    apart = render(model, objective, alone, steps=30, progress=False)
    alike, unlike = (np.corrcoef(x.reshape(3, -1))[0, 1:].mean() for x in (images, apart))
    assert alike > unlike


def test_objectives_render_by_seed(model):
    optvis = import_lucid().optvis
    objective = optvis.objectives.direction("second", VECTOR) + optvis.objectives.channel("norm", 1)
    options = {"steps": 3, "seed": 4, "progress": False}
    start = partial(optvis.param.image, 32, batch=2)
    rendered = render(model, objective, start, **options)
    assert rendered.shape == (2, 32, 32, 3)
    assert rendered.tobytes() == render(model, objective, start, **options).tobytes()
    examples = {"two": (objective, start), "one": ("norm:1", partial(optvis.param.image, 32))}
    images, titles = render_all(model, examples, **options)
    assert titles == ["two", "", "one"] and images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(images[:2], rendered)


def test_render_channels_repeats_and_maximises(model, capsys):
    options = {"size": 32, "steps": 16, "progress": False}
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    rendered = render_channels(model, "norm", [2, 4], seed=3, **options)
    assert np.random.rand() == expected
    assert rendered.shape == (2, 32, 32, 3) and rendered.dtype == np.float32
    assert 0 <= rendered.min() < rendered.max() <= 1
    again = render_channels(model, "norm", [2, 4], seed=3, **options)
    assert rendered.tobytes() == again.tobytes()
    assert rendered.tobytes() != render_channels(model, "norm", [2, 4], **options).tobytes()
    start = render_channels(model, "norm", [2, 4], seed=3, **options | {"steps": 0})
    for channel, pair in zip((2, 4), zip(start, rendered, strict=True), strict=True):
        at_start, reached = activations(model, np.stack(pair), "norm")[..., channel].mean((1, 2))
        assert reached > at_start
    assert capsys.readouterr() == ("", "")


def test_render_channels_under_op_determinism(run_python):
    run_python("""
import keras, tensorflow as tf
tf.config.experimental.enable_op_determinism()
from utils.lucid_bridge import render_channels, to_lucid
conv = keras.layers.Conv2D(4, 3, activation="relu", name="conv")
keras.utils.set_random_seed(0)
model = to_lucid(keras.Sequential([keras.layers.Input((None, None, 3)), conv]))
first, second = (render_channels(model, "conv", [0, 1], size=32, steps=4) for _ in range(2))
assert first.tobytes() == second.tobytes()
""")


@pytest.mark.parametrize("channels", [[], [8], [-1, 2]])
def test_channels_out_of_range(model, channels):
    with pytest.raises(ValueError, match="expected some of 0 to 7"):
        render_channels(model, "second", channels)


def test_images_of_another_kind(model):
    with pytest.raises(ValueError, match="divide uint8 images by 255"):
        activations(model, np.zeros((1, 32, 32, 3), np.uint8), "first")
