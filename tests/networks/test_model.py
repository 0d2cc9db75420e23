import warnings
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from utils import cluster
from utils.heatmaps import DeadMaps, explain
from utils.networks import INPUT, Model, layer_features, layer_features_and_gradients
from utils.networks.backbones import INCEPTIONV3


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((1, 99, 99, 3), np.float32), "float32"),
        (np.zeros((99, 99, 3), np.uint8), "shape"),
        (np.zeros((0, 99, 99, 3), np.uint8), "at least one"),
        (np.zeros((1, 74, 74, 3), np.uint8), "at least 75"),
    ],
)
def test_images_that_do_not_fit(images, words, inception):
    model = Model(inception, INCEPTIONV3, "finetuned", "", "")
    with pytest.raises(ValueError, match=words):
        model.predict(images)


class _OnDisk:
    """Images of which every read is counted."""

    def __init__(self, images):
        self.images, self.read = images, 0
        self.dtype, self.shape, self.ndim = images.dtype, images.shape, images.ndim

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        images = self.images[key]
        self.read += len(images)
        return images


@pytest.mark.parametrize("what", [layer_features, explain, Model.predict], ids=lambda f: f.__name__)
def test_images_are_read_once(tiny_classifier, what):
    """And a first part of them before, to see that they are not scaled to [0, 1]."""
    generator = np.random.default_rng(0)
    images = _OnDisk(generator.integers(0, 256, (1000, 16, 16, 3), dtype=np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadMaps)
        what(tiny_classifier, images)
    assert images.read <= 1000 + 256
    dark = _OnDisk(np.zeros((1000, 16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="over 1"):
        what(tiny_classifier, dark)


def test_titles_of_checkpoints_have_no_path(tiny_classifier):
    assert tiny_classifier.title == "finetuned Tiny"
    path = "/somewhere/deep/tumor_classifier.weights.h5"
    assert replace(tiny_classifier, weights=path).title == "Tiny (tumor_classifier.weights.h5)"


def test_a_copy_has_weights_of_its_own(tiny_classifier, images):
    copy = tiny_classifier.copy()
    np.testing.assert_array_equal(copy.predict(images), tiny_classifier.predict(images))
    before = tiny_classifier.predict(images)
    for variable in copy.network.trainable_variables:
        variable.assign(2 * variable + 1)
    assert (copy.predict(images) != before).any()
    np.testing.assert_array_equal(tiny_classifier.predict(images), before)


def test_gradients_of_layers_and_of_the_input(tiny_classifier, images, tail):
    """Against a tape over what follows the layer, and finite differences of the input."""
    batch = tf.constant(tiny_classifier.preprocess(images[:2]))
    run = tiny_classifier.activations_and_gradients(["early", INPUT], lambda logit: -3 * logit)
    activations, gradients, logit = run(batch)
    np.testing.assert_array_equal(activations[INPUT], batch)
    with tf.GradientTape() as tape:
        tape.watch(activations["early"])
        behind = tail(activations["early"])[:, 0]
    np.testing.assert_allclose(behind, logit, atol=1e-5)
    expected = -3 * tape.gradient(behind, activations["early"]).numpy()
    np.testing.assert_allclose(gradients["early"], expected, atol=1e-5)
    move = 1e-3 * np.float32(np.random.default_rng(1).normal(size=batch.shape))
    up, down = (run(batch + sign * move)[2].numpy() for sign in (1, -1))
    along = -3 * (up - down) / 2
    np.testing.assert_allclose(
        (gradients[INPUT] * move).numpy().sum(axis=(1, 2, 3)), along, rtol=0.05
    )


def _negated(model):
    network = model.submodel([], logit=True)
    return lambda batch: -network(batch)["logit"]


def _scaled(model, factor):
    network = model.submodel([], logit=True)
    return lambda batch: factor * network(batch)["logit"]


def test_functions_of_other_arguments_are_other_functions(tiny_classifier, images):
    def total(build, *arguments):
        return np.concatenate(list(tiny_classifier.map(build, *arguments, images=images)))

    np.testing.assert_allclose(total(_scaled, 2), -2 * total(_negated), rtol=1e-6)
    np.testing.assert_allclose(total(_scaled, 3), -3 * total(_negated), rtol=1e-6)


def test_features_are_pooled_activations_of_one_pass(tiny_model, images):
    features = layer_features(tiny_model, images, batch_size=2)
    assert list(features) == ["early", "late"]
    for name, pooled in features.items():
        outputs = tiny_model.submodel([name])(tiny_model.preprocess(images), training=False)[name]
        np.testing.assert_allclose(pooled, outputs.numpy().mean(axis=(1, 2)), atol=1e-6)


def test_gradients_against_finite_differences(tiny_classifier, images, tail):
    features, gradients = layer_features_and_gradients(tiny_classifier, images, batch_size=2)
    for layer, pooled in layer_features(tiny_classifier, images).items():
        np.testing.assert_allclose(features[layer], pooled, atol=1e-6)
    activations = tiny_classifier.submodel(["early"])(tiny_classifier.preprocess(images))["early"]
    for channel in range(4):
        move = 1e-3 * np.eye(4, dtype=np.float32)[channel]
        up, down = (tail(activations + sign * move).numpy()[:, 0] for sign in (1, -1))
        slope = (up - down) / 2e-3
        np.testing.assert_allclose(gradients["early"][:, channel], slope, atol=0.02, rtol=0.02)
    vector = np.float32([0.5, -0.5, 0.1, 0.7])  # along an RCV, not only along channels
    up, down = (tail(activations + sign * 1e-3 * vector).numpy()[:, 0] for sign in (1, -1))
    np.testing.assert_allclose(
        gradients["early"] @ vector, (up - down) / 2e-3, atol=0.03, rtol=0.03
    )
    with pytest.raises(ValueError, match="spatial extent"):
        layer_features(tiny_classifier, images, layers=["pool"])
    with pytest.raises(ValueError, match="finetune first"):
        layer_features_and_gradients(
            replace(tiny_classifier, network=tiny_classifier.submodel(["late"])), images
        )


def test_one_pass_per_patch(tiny_classifier, images, passes):
    layer_features_and_gradients(tiny_classifier, images, batch_size=2)
    layer_features(tiny_classifier, images, batch_size=3)
    assert passes == [2, 2, 1, 3, 2]
    many = np.tile(images, (16, 1, 1, 1))
    features, _ = layer_features_and_gradients(tiny_classifier, many)
    assert passes[5:] == [32, 32, 16]
    np.testing.assert_allclose(features["late"], np.tile(features["late"][:5], (16, 1)), rtol=1e-5)


def test_features_of_chunks_and_of_workers_are_the_same(tiny_model, call_by_value):
    """In this process byte for byte, whatever the chunks; black patches in a chunk of their own."""
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    images[16:32] = 0
    whole = layer_features(tiny_model, images, batch_size=40)["late"]
    chunked = layer_features(tiny_model, images, batch_size=4)["late"]
    np.testing.assert_allclose(chunked, whole, atol=1e-5)
    cluster.connect("local", workers=1)
    try:
        one = layer_features(tiny_model, images, batch_size=4)["late"]
        cluster.connect("local", workers=2)
        two = layer_features(tiny_model, images, batch_size=4)["late"]
    finally:
        cluster.disconnect()
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(one, chunked, atol=1e-5)
