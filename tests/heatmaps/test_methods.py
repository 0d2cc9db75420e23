import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.heatmaps import METHODS, explain
from utils.heatmaps.maps import divide_by_peak
from utils.heatmaps.methods import Method, coarse_maps
from utils.heatmaps.placement import stretch
from utils.networks import load_model


def _reference(activations, gradients, method):
    """The formulas as loops, in double precision, before upsampling and scaling."""
    maps = []
    for a, g in zip(activations.astype(float), gradients.astype(float), strict=True):
        heat = np.zeros(a.shape[:2])
        for k in range(a.shape[-1]):
            if method == "gradcam":
                weight = g[..., k].mean()
            elif method == "gradcam++":
                below = 2 * g[..., k] ** 2 + g[..., k] ** 3 * a[..., k].sum()
                alpha = np.where(below == 0, 0, g[..., k] ** 2 / np.where(below == 0, 1, below))
                weight = (alpha * np.maximum(g[..., k], 0)).sum()
            elif method == "hirescam":
                weight = g[..., k]
            else:
                weight = np.maximum(g[..., k], 0)
            heat += weight * a[..., k]
        maps.append(np.maximum(heat, 0))
    return np.array(maps)


def _activations(model, images, layer):
    return model.submodel([layer])(model.preprocess(images), training=False)[layer].numpy()


def _cosine(one, other):
    return np.sum(one * other) / np.sqrt(np.sum(one**2) * np.sum(other**2))


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam", "hirescam"])
@pytest.mark.parametrize(("target", "sign"), [("tumor", 1), ("normal", -1)])
def test_against_numpy(tiny_classifier, images, method, target, sign, fine):
    activations = _activations(tiny_classifier, images, "late")
    # Under pooling and one unit, the derivative of the logit is the kernel over the positions.
    kernel = tiny_classifier.network.get_layer("tumor").kernel.numpy()[:, 0]
    gradients = np.broadcast_to(sign * kernel / 16, activations.shape)
    expected = fine(_reference(activations, gradients, method), (16, 16))
    maps = explain(tiny_classifier, images, methods=[method], target=target)[method]
    assert maps.shape == images.shape[:3] and maps.dtype == np.float32
    assert 0 <= maps.min() and maps.max() <= 1
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_gradcam_under_global_pooling_is_cam(tiny_classifier, images, fine):
    """Zhou et al. (2016): the last feature map, weighted by the head's kernel."""
    kernel = tiny_classifier.network.get_layer("tumor").kernel.numpy()[:, 0]
    cam = np.maximum(_activations(tiny_classifier, images, "late") @ kernel, 0)
    found = explain(tiny_classifier, images, methods=["gradcam"])["gradcam"]
    np.testing.assert_allclose(found, fine(cam, (16, 16)), atol=1e-5)


def test_a_new_method_is_one_entry(tiny_classifier, images, fine, monkeypatch):
    methods = {
        "product": Method("product", "product", lambda a, g: tf.reduce_sum(a * g, axis=-1)),
        "mean": Method("mean", "mean", lambda a, g: tf.reduce_mean(g, axis=-1), of="input"),
    }
    for name, method in methods.items():
        monkeypatch.setitem(METHODS, name, method)
    maps = explain(tiny_classifier, images, methods=list(methods))
    # The gradient is the same at all positions.
    expected = explain(tiny_classifier, images, methods=["gradcam"])["gradcam"]
    np.testing.assert_allclose(maps["product"], expected, atol=1e-5)
    elsewhere = explain(tiny_classifier, images, methods=["mean"], layer="early")
    np.testing.assert_allclose(maps["mean"], elsewhere["mean"], atol=1e-5)
    assert maps["mean"].shape == images.shape[:3]


def test_gradients_of_an_earlier_layer(tiny_classifier, images, tail, fine):
    """Central differences through the layers behind, at every position of one patch."""
    activations = _activations(tiny_classifier, images[:1], "early")
    step = 1e-2
    moves = step * np.eye(activations.size).reshape(-1, *activations.shape[1:])
    up = tail((activations + moves).astype(np.float32)).numpy()[:, 0]
    down = tail((activations - moves).astype(np.float32)).numpy()[:, 0]
    gradients = ((up - down) / (2 * step)).reshape(activations.shape)
    found = explain(tiny_classifier, images[:1], layer="early")
    for method, maps in found.items():
        expected = fine(_reference(activations, gradients, method), (16, 16), "early")
        np.testing.assert_allclose(maps, expected, atol=0.02)


def test_agreement_with_tf_keras_vis(real_backbone, checkpoint, sample):
    """Grad-CAM is the same; Grad-CAM++ differs by its sum of alphas, which it divides by."""
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus

    model = load_model(checkpoint, real_backbone)
    tumor = sample.images[sample.labels == 1][:6]
    # Before the last layer: there, under global pooling, alpha is the same at all positions.
    name = model.backbone.cam_layers[1]
    layer = model.layer(name)
    logits = keras.Model(model.network.inputs[0], keras.ops.expand_dims(model.logit, 1))
    inputs = model.preprocess(tumor)

    def theirs(visualiser):
        return visualiser(logits, clone=False)(
            lambda output: output[:, 0],
            inputs,
            penultimate_layer=layer.name,
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )

    def fine(coarse):
        return divide_by_peak(stretch(np.float32(coarse), tumor.shape[1:3]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dead maps, and of stretched ones
        ours = explain(model, tumor, layer=name, placement="stretched")
    gradcam_maps = fine(theirs(Gradcam))
    assert gradcam_maps.max() == 1
    assert _cosine(ours["gradcam"], gradcam_maps) > 0.999

    network = keras.Model(model.network.inputs[0], [model.logit, layer.output])
    with tf.GradientTape() as tape:
        x = tf.constant(inputs)
        tape.watch(x)
        logit, activations = network(x, training=False)
    g = tape.gradient(logit, activations).numpy().astype(float)
    a = activations.numpy().astype(float)
    below = 2 + g * a.sum(axis=(1, 2), keepdims=True)
    alpha = np.where(g == 0, 0, 1 / np.where(below == 0, 1, below))
    weights = (alpha * np.maximum(g, 0)).sum(axis=(1, 2), keepdims=True)
    total = alpha.sum(axis=(1, 2), keepdims=True)
    divided = weights / np.where(total == 0, 1, total)
    with_division = fine(np.maximum((a * divided).sum(axis=-1), 0))
    without = fine(np.maximum((a * weights).sum(axis=-1), 0))
    plus_plus = fine(theirs(GradcamPlusPlus))
    assert _cosine(ours["gradcam++"], without) > 0.9999
    assert _cosine(plus_plus, with_division) > 0.999
    assert np.abs(without - with_division).max() > 0.01  # the term matters


def _coarse(model, images, name):
    arguments = (("late",), (METHODS[name],), "tumor")
    ((maps, logit),) = model.map(coarse_maps, *arguments, images=images)
    return maps["late"][name].numpy(), logit.numpy()


def test_integrated_gradients_are_complete(tiny_classifier, images):
    """They add up to the change of the logit from the mean colour (Sundararajan et al. 2017)."""
    maps, logit = _coarse(tiny_classifier, images, "integrated")
    inputs = tiny_classifier.preprocess(images)
    mean = np.broadcast_to(inputs.mean(axis=(1, 2), keepdims=True), inputs.shape)
    of_mean = tiny_classifier.submodel([], logit=True)(mean, training=False)["logit"]
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), logit - of_mean, atol=0.02)
    assert np.ptp(logit - of_mean) > 0.2


def test_gradients_near_the_input_against_a_loop(tiny_classifier, images):
    inputs = tf.constant(tiny_classifier.preprocess(images))
    network = tiny_classifier.submodel([], logit=True)

    def gradient(at):
        with tf.GradientTape() as tape:
            tape.watch(at)
            value = network(at, training=False)["logit"]
        return tape.gradient(value, at).numpy()

    expected = np.sum((inputs - inputs.numpy().mean((1, 2), keepdims=True)) * gradient(inputs), -1)
    maps, _ = _coarse(tiny_classifier, images, "gradient*input")
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    extent = np.ptp(inputs.numpy(), axis=(1, 2, 3))[:, None, None, None]
    noise = [tf.random.stateless_normal((1, 16, 16, 3), (0, number)) for number in range(16)]
    mean = np.mean([gradient(inputs + 0.15 * extent * draw) for draw in noise], axis=0)
    maps, _ = _coarse(tiny_classifier, images, "smoothgrad")
    np.testing.assert_allclose(maps, np.abs(mean).max(axis=-1), atol=1e-5)
