import warnings

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.heatmaps import METHODS, DeadMaps, explain, explain_layers, stream
from utils.heatmaps.maps import TARGETS
from utils.networks import Model, add_head, load_model, unfold
from utils.results.figures import overlay


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
            else:
                weight = np.maximum(g[..., k], 0)
            heat += weight * a[..., k]
        maps.append(np.maximum(heat, 0))
    return np.array(maps)


def _fine(coarse, size):
    """Upsample as the documentation says, and divide by the maximum."""
    resized = np.stack([cv2.resize(np.float32(m), size) for m in coarse])
    peaks = resized.max(axis=(1, 2), keepdims=True)
    return np.divide(resized, peaks, out=np.zeros_like(resized), where=peaks > 0)


def _activations(model, images, layer):
    return model.submodel([layer])(model.preprocess(images), training=False)[layer].numpy()


def _cosine(one, other):
    return np.sum(one * other) / np.sqrt(np.sum(one**2) * np.sum(other**2))


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam"])
@pytest.mark.parametrize(("target", "sign"), [("tumor", 1), ("normal", -1)])
def test_against_numpy(tiny_classifier, images, method, target, sign):
    activations = _activations(tiny_classifier, images, "late")
    # Under pooling and one unit, the derivative of the logit is the kernel over the positions.
    kernel = tiny_classifier.network.get_layer("tumor").kernel.numpy()[:, 0]
    gradients = np.broadcast_to(sign * kernel / 16, activations.shape)
    expected = _fine(_reference(activations, gradients, method), (16, 16))
    maps = explain(tiny_classifier, images, methods=[method], target=target)[method]
    assert maps.shape == images.shape[:3] and maps.dtype == np.float32
    assert 0 <= maps.min() and maps.max() <= 1
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_gradcam_under_global_pooling_is_cam(tiny_classifier, images):
    """Zhou et al. (2016): the last feature map, weighted by the head's kernel."""
    kernel = tiny_classifier.network.get_layer("tumor").kernel.numpy()[:, 0]
    cam = np.maximum(_activations(tiny_classifier, images, "late") @ kernel, 0)
    found = explain(tiny_classifier, images, methods=["gradcam"])["gradcam"]
    np.testing.assert_allclose(found, _fine(cam, (16, 16)), atol=1e-5)


def test_saliency_against_finite_differences(tiny_classifier, images):
    inputs = tiny_classifier.preprocess(images[:1])
    network = tiny_classifier.submodel([], logit=True)
    moves = 1e-3 * np.eye(inputs.size, dtype=np.float32).reshape(-1, *inputs.shape[1:])
    up, down = (network(inputs + sign * moves)["logit"].numpy() for sign in (1, -1))
    slope = np.abs((up - down) / 2e-3).reshape(inputs.shape).max(axis=-1)
    found = explain(tiny_classifier, images[:1], methods=["saliency"])["saliency"]
    np.testing.assert_allclose(found, slope / slope.max(), atol=0.02)


def test_gradients_of_an_earlier_layer(tiny_classifier, images, tail):
    """Central differences through the layers behind, at every position of one patch."""
    activations = _activations(tiny_classifier, images[:1], "early")
    step = 1e-2
    moves = step * np.eye(activations.size).reshape(-1, *activations.shape[1:])
    up = tail((activations + moves).astype(np.float32)).numpy()[:, 0]
    down = tail((activations - moves).astype(np.float32)).numpy()[:, 0]
    gradients = ((up - down) / (2 * step)).reshape(activations.shape)
    found = explain(tiny_classifier, images[:1], layer="early")
    for method, maps in found.items():
        expected = _fine(_reference(activations, gradients, method), (16, 16))
        np.testing.assert_allclose(maps, expected, atol=0.02)


def test_maps_do_not_depend_on_the_batch(tiny_classifier, images):
    together = explain(tiny_classifier, images)
    for method, maps in explain(tiny_classifier, images, batch_size=2).items():
        np.testing.assert_allclose(maps, together[method], atol=1e-6)


def test_maps_without_evidence_are_said(tiny_classifier, images):
    head = tiny_classifier.network.get_layer("tumor")
    head.kernel.assign(-np.abs(head.kernel.numpy()))
    with pytest.warns(DeadMaps, match="5 of 5 gradcam maps of late are all zero: no place there"):
        maps = explain(tiny_classifier, images, methods=["gradcam"])["gradcam"]
    assert (maps == 0).all()
    assert explain(tiny_classifier, images, target="normal")["gradcam"].max() == 1


def test_several_layers_from_the_same_passes(tiny_classifier, images):
    together = explain_layers(tiny_classifier, images, ["early", "late"], methods=METHODS)
    for layer, by_method in together.items():
        alone = explain(tiny_classifier, images, methods=METHODS, layer=layer)
        for method, maps in by_method.items():
            np.testing.assert_allclose(maps, alone[method], atol=1e-5)


def test_stream_is_lazy_and_gives_the_same_maps(tiny_classifier, images, monkeypatch):
    passes = []
    preprocess = Model.preprocess
    monkeypatch.setattr(
        Model,
        "preprocess",
        lambda self, batch: passes.append(len(batch)) or preprocess(self, batch),
    )
    batches = stream(tiny_classifier, images, ["late"], batch_size=2)
    first = next(batches)
    assert passes == [2]
    parts = [first, *batches]
    assert passes == [2, 2, 1]
    maps = np.concatenate([part.maps["late"]["gradcam"] for part in parts])
    np.testing.assert_allclose(maps, explain(tiny_classifier, images)["gradcam"], atol=1e-6)
    logit = np.concatenate([part.logit for part in parts])
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), tiny_classifier.predict(images), atol=1e-6)


def test_two_softmax_units_are_explained_as_one_sigmoid(tiny_model, tiny_classifier, images):
    """Tumor and normal alike, though two units have an offset that a softmax does not see."""
    kernel, bias = tiny_classifier.network.get_layer("tumor").get_weights()
    network = add_head(tiny_model.network, 2)
    offset = np.float32(np.random.default_rng(0).normal(size=kernel.shape))
    network.get_layer("tumor").set_weights(
        [np.hstack([offset, offset + kernel]), np.concatenate([[0.0], bias])]
    )
    two = Model(network, tiny_model.backbone, "finetuned", "test", "")
    for target in TARGETS:
        for method, maps in explain(two, images, target=target).items():
            expected = explain(tiny_classifier, images, target=target)[method]
            assert expected.max() == 1  # neither class is blank
            np.testing.assert_allclose(maps, expected, atol=1e-4)


def test_nested_backbone(tiny_classifier, tiny_backbone, images):
    network = tiny_classifier.network
    inner = keras.Model(network.inputs[0], network.get_layer("late_relu").output, name="inner")
    image = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inner(image))
    outer = keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(pooled))
    outer.layers[-1].set_weights(network.get_layer("tumor").get_weights())
    nested = Model(unfold(outer), tiny_backbone, "nested", "test", "")
    for method, maps in explain(nested, images, layer="early").items():
        expected = explain(tiny_classifier, images, layer="early")[method]
        np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_scores_modifiers_and_interpolations(tiny_classifier, images):
    options = {"methods": ["gradcam"]}

    def gradcam_of(**more):
        return explain(tiny_classifier, images, **options, **more)["gradcam"]

    # The probability's gradient is the logit's times a number, which scaling takes out.
    np.testing.assert_allclose(gradcam_of(score="probability"), gradcam_of(), atol=1e-4)
    with pytest.raises(ValueError, match="gradcam\\+\\+ is derived for"):
        explain(tiny_classifier, images, methods=["gradcam++"], score="probability")
    for method in ("gradcam++", "layercam"):
        with pytest.raises(ValueError, match="explain the other target"):
            explain(tiny_classifier, images, methods=[method], modifier="negate")
    np.testing.assert_allclose(
        gradcam_of(modifier="negate"), gradcam_of(target="normal"), atol=1e-5
    )
    kernel = tiny_classifier.network.get_layer("tumor").kernel.numpy()[:, 0]
    both = np.abs(_activations(tiny_classifier, images, "late") @ kernel)
    np.testing.assert_allclose(gradcam_of(modifier="absolute"), _fine(both, (16, 16)), atol=1e-5)
    nearest = gradcam_of(interpolation="nearest")
    np.testing.assert_array_equal(nearest[:, ::4, ::4], nearest[:, 3::4, 3::4])
    cubic = gradcam_of(interpolation="cubic")
    assert 0 <= cubic.min() and cubic.max() == 1 and (cubic != nearest).any()


def test_the_logit_is_explained_where_the_probability_is_saturated(tiny_classifier, images):
    head = tiny_classifier.network.get_layer("tumor")
    expected = explain(tiny_classifier, images)["gradcam"]
    head.bias.assign([200.0])
    np.testing.assert_array_equal(tiny_classifier.predict(images), 1)
    np.testing.assert_allclose(explain(tiny_classifier, images)["gradcam"], expected, atol=1e-6)
    with pytest.warns(DeadMaps, match="saturated and has no gradient"):
        maps = explain(tiny_classifier, images, methods=["gradcam"], score="probability")
    assert (maps["gradcam"] == 0).all()


@pytest.mark.parametrize("quadrant", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_quadrant_that_drives_the_output_is_found(tiny_classifier, quadrant):
    """A network that answers to blue alone, and images with blue in one quadrant alone."""
    for name, weights in {"stem": (3, 4), "deep": (4, 6)}.items():
        kernel = np.zeros((3, 3, *weights), np.float32)
        kernel[1, 1, 2 if name == "stem" else 0, 0] = 1
        tiny_classifier.network.get_layer(name).set_weights([kernel, np.zeros(weights[1])])
    head = np.eye(6, 1, dtype=np.float32)
    tiny_classifier.network.get_layer("tumor").set_weights([head, np.zeros(1)])
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    images[..., 2] = 0
    rows, columns = (slice(8 * side, 8 * side + 8) for side in quadrant)
    images[:, rows, columns, 2] = 255
    for layer in ("early", "late"):
        maps = explain(tiny_classifier, images, methods=METHODS, layer=layer)
        for heat in maps.values():
            inside = heat[:, rows, columns].sum(axis=(1, 2)) / heat.sum(axis=(1, 2))
            assert inside.min() > 0.75
            assert (heat[:, rows, columns].max(axis=(1, 2)) == 1).all()


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

    size = tumor.shape[2:0:-1]
    with warnings.catch_warnings(action="ignore", category=DeadMaps):
        ours = explain(model, tumor, layer=name)
    gradcam_maps = _fine(theirs(Gradcam), size)
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
    with_division = _fine(np.maximum((a * divided).sum(axis=-1), 0), size)
    without = _fine(np.maximum((a * weights).sum(axis=-1), 0), size)
    plus_plus = _fine(np.asarray(theirs(GradcamPlusPlus)), size)
    assert _cosine(ours["gradcam++"], without) > 0.9999
    assert _cosine(plus_plus, with_division) > 0.999
    assert np.abs(without - with_division).max() > 0.01  # the term matters


def test_overlay(images):
    maps = np.zeros(images.shape[:3], np.float32)
    maps[:, :8] = 1
    laid = overlay(images, maps, opacity=1.0)
    assert laid[0, 0, 0, 0] > 100 > laid[0, 0, 0, 2]  # jet: red at the top, blue at the bottom
    assert laid[0, 15, 0, 2] > 100 > laid[0, 15, 0, 0]
    np.testing.assert_array_equal(overlay(images, maps, opacity=0.0), images)
    with pytest.raises(ValueError, match="jet, cividis"):
        overlay(images, maps, colormap="rainbow")
    with pytest.raises(ValueError, match="differ"):
        overlay(images, maps[:2])


def test_bad_requests(tiny_classifier, tiny_model, images):
    for options, words in (
        ({"methods": ["cam"]}, "gradcam"),
        ({"methods": "gradcam"}, "expected a list of names"),
        ({"methods": []}, "expected a list of names"),
        ({"target": "benign"}, "tumor, normal"),
        ({"score": "softmax"}, "logit, probability"),
        ({"modifier": "abs"}, "relu, absolute, negate"),
        ({"interpolation": "lanczos"}, "linear, cubic, nearest"),
        ({"layer": "mixed7c"}, "no layer 'mixed7c'"),
        ({"layer": "pool"}, "spatial extent"),
    ):
        with pytest.raises(ValueError, match=words):
            explain(tiny_classifier, images, **options)
    with pytest.raises(ValueError, match="finetune first"):
        explain(tiny_model, images)
    for bad, words in (
        (images[:0], "empty"),
        (images / 255, "float64"),
        (images // 255, "over 1"),
        (images[..., 0], "shape"),
        (images[:, :4, :4], "at least 8"),
    ):
        with pytest.raises(ValueError, match=words):
            explain(tiny_classifier, bad)
    with pytest.raises(ValueError, match="opacity is 2"):
        overlay(images, np.zeros(images.shape[:3], np.float32), opacity=2)


def test_a_head_of_five_units_is_refused(tiny_model, images):
    network = add_head(tiny_model.network, 5)
    with pytest.raises(ValueError, match="one or two units"):
        explain(Model(network, tiny_model.backbone, "five", "test", ""), images)
