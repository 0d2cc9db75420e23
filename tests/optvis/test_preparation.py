import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.networks import load_model
from utils.optvis import objectives, param, render
from utils.optvis.preparation import prepare_network


@pytest.mark.parametrize("backbone", ["inceptionv3", "densenet121"])
def test_prepare_network_computes_the_same(backbone):
    # With random statistics, so that folding batch normalisation has something to fold.
    model = load_model("random", backbone)
    generator = np.random.default_rng(0)
    for layer in model.network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(0, 0.1, count))
            layer.moving_variance.assign(generator.uniform(0.5, 2, count))
            layer.beta.assign(generator.normal(0, 0.1, count))
    names = list(model.backbone.layers)[::4] + [model.backbone.cam_layer]
    images = tf.constant(model.preprocess(255 * param.perlin(96)))
    expected = model.submodel(names)(images, training=False)
    copy = prepare_network(model, names)
    outputs = copy(images, training=False)
    for name in names:
        tolerance = 1e-4 * np.abs(expected[name]).max()
        np.testing.assert_allclose(outputs[name], expected[name], atol=tolerance)
    kept = {
        type(layer).__name__ for layer in prepare_network(model, names, last_relus="kept").layers
    }
    assert ("BatchNormalization" in kept) == (backbone == "densenet121")


def test_last_relus_can_be_linear(tiny_model):
    images = tf.random.stateless_normal((2, 16, 16, 3), (0, 0))
    linear = prepare_network(tiny_model, ["late"], last_relus="linear")(images)["late"]
    kept = prepare_network(tiny_model, ["late"], last_relus="kept")(images)["late"]
    assert linear.numpy().min() < 0
    np.testing.assert_allclose(np.maximum(linear, 0), kept, atol=1e-6)
    with pytest.raises(ValueError, match="last_relus is 'none'"):
        prepare_network(tiny_model, ["late"], last_relus="none")


def test_bfloat16_is_close_and_float32_outside(tiny_model):
    images = tf.random.stateless_normal((2, 16, 16, 3), (0, 0))
    expected = tiny_model.submodel(["late"])(images)["late"].numpy()
    rough = tf.cast(
        prepare_network(tiny_model, ["late"], dtype="bfloat16")(images)["late"], tf.float32
    )
    assert 0 < np.abs(rough - expected).max() < 0.03 * np.abs(expected).max()
    out = render.render_vis(
        tiny_model,
        objectives.channel("late", 1),
        lambda: param.image(16),
        thresholds=[3],
        dtype="bfloat16",
        progress=False,
    )
    assert out.dtype == np.float32 and np.isfinite(out).all()
