from functools import partial

import keras
import numpy as np
import pytest

from utils.lucid_bridge import (
    aligned_images,
    import_lucid,
    render,
    render_all,
    render_channels,
    to_lucid,
)

VECTOR = np.linspace(-1, 1, 8, dtype=np.float32)


def _channels(model, layer, numbers, **options):
    return render_channels({"it": model}, {layer: numbers}, **options)["it"][layer]


def test_activation_grid(optvis, model, images, activations):
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


def test_render_channels_repeats_and_maximises(model, capsys, activations):
    options = {"size": 32, "steps": 16, "progress": False}
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    rendered = _channels(model, "norm", [2, 4], seed=3, **options)
    assert np.random.rand() == expected
    assert rendered.shape == (2, 32, 32, 3) and rendered.dtype == np.float32
    assert 0 <= rendered.min() < rendered.max() <= 1
    again = _channels(model, "norm", [2, 4], seed=3, **options)
    assert rendered.tobytes() == again.tobytes()
    assert rendered.tobytes() != _channels(model, "norm", [2, 4], **options).tobytes()
    start = _channels(model, "norm", [2, 4], seed=3, **options | {"steps": 0})
    still = _channels(model, "norm", [2, 4], seed=3, learning_rate=0.0, **options)
    np.testing.assert_allclose(still, start, atol=1e-6)
    for channel, pair in zip((2, 4), zip(start, rendered, strict=True), strict=True):
        at_start, reached = activations(model, np.stack(pair), "norm")[..., channel].mean((1, 2))
        assert reached > at_start
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("channels", [[], [8], [-1, 2]])
def test_channels_out_of_range(model, channels):
    with pytest.raises(ValueError, match="expected some of 0 to 7"):
        render_channels({"it": model}, {"second": channels})


def test_render_channels_under_op_determinism(run_python):
    run_python("""
import keras, tensorflow as tf
tf.config.experimental.enable_op_determinism()
from utils.lucid_bridge import render_channels, to_lucid
conv = keras.layers.Conv2D(4, 3, activation="relu", name="conv")
keras.utils.set_random_seed(0)
model = to_lucid(keras.Sequential([keras.layers.Input((None, None, 3)), conv]))
channels, options = {"conv": [0, 1]}, {"size": 32, "steps": 4}
first, second = (render_channels({"it": model}, channels, **options) for _ in range(2))
assert first["it"]["conv"].tobytes() == second["it"]["conv"].tobytes()
""")


def test_networks_at_once_are_rendered_as_alone(model, network, images):
    other = to_lucid(keras.models.clone_model(network))
    models = {"one": model, "other": other, "again": model}
    channels, calls = {"first": [1], "second": [0, 7]}, []

    def once(function, *arguments, **options):
        calls.append(function.__name__)
        return function(*arguments, **options)

    options = {"size": 32, "steps": 18, "seed": 2, "progress": False}
    together = render_channels(models, channels, once=once, **options)
    assert calls == ["_render_layer"] * 2
    for name, one in models.items():
        for layer, numbers in channels.items():
            alone = _channels(one, layer, numbers, **options)
            assert together[name][layer].tobytes() == alone.tobytes(), (name, layer)
    assert together["one"]["second"].tobytes() != together["other"]["second"].tobytes()


def test_an_error_in_one_graph_ends_all(optvis, model):
    start = partial(optvis.param.image, 32)
    examples = {"good": ("norm:1", start), "bad": ("nothing:1", start)}
    with pytest.raises(ValueError, match="has no layer 'nothing'"):
        render_all(model, examples, steps=100_000, progress=False)
