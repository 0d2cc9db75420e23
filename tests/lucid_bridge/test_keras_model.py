import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from utils.lucid_bridge import import_lucid, render_channels, to_lucid
from utils.networks import load_model


@pytest.fixture(scope="module")
def inception():
    keras.applications.InceptionV3(weights=None, include_top=False)  # moves Keras' numbers on
    return load_model("random", "inceptionv3", seed=0)


@pytest.fixture(scope="module")
def lucid_inception(inception):
    return to_lucid(inception)


@pytest.fixture
def assert_same_activations(evaluate):
    def assert_same_activations(model, network, images, inputs, names):
        """Compare layers, given as Lucid's name to Keras' name, of preprocessed and raw images."""
        outputs = [network.get_layer(name).output for name in names.values()]
        expected = keras.Model(network.inputs[0], outputs)(inputs, training=False)
        got = evaluate(model, lambda tensors: [tensors(name) for name in names], images)
        for name, a, b in zip(names, got, expected, strict=True):
            assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max(), name

    return assert_same_activations


def test_small_network(model, network, images, assert_same_activations):
    assert [(layer.name, layer.depth, *layer.tags) for layer in model.layers] == [
        ("first", 8, "conv"),
        ("norm", 8, "conv"),
        ("second", 8, "conv"),
        (network.layers[4].name, 8, "dense"),
        ("logits", 5, "dense"),
    ]
    assert (model.name, model.image_shape) == (network.name, [32, 32, 3])
    images = images[:, :32, :32]
    names = {layer.name: layer.name for layer in model.layers}  # all but the dropout
    assert_same_activations(model, network, images, images * 2 - 1, names)


def test_frozen_at_once_and_keras_lives_on(model, network, images, activations):
    clone = keras.models.clone_model(network)
    clone.set_weights(network.get_weights())
    nodes = [len(layer._inbound_nodes) for layer in clone.layers]
    frozen = to_lucid(clone)
    before = activations(frozen, images, "first")
    render_channels({"it": frozen}, {"second": [0]}, size=32, steps=1, progress=False)
    assert tf.executing_eagerly()
    clone.compile("adam", "mse")
    clone.fit(images[:, :32, :32], np.zeros((2, 5)), epochs=2, verbose=0)
    batch = tf.constant(images[:, :32, :32])
    with tf.GradientTape() as tape:
        tape.watch(batch)
        output = tf.reduce_sum(clone(batch))
    assert np.isfinite(tape.gradient(output, batch)).all()
    assert [len(layer._inbound_nodes) for layer in clone.layers] == nodes
    np.testing.assert_array_equal(activations(frozen, images, "first"), before)
    trained = activations(to_lucid(clone), images, "first")
    assert np.abs(trained - before).max() > 1e-4


def test_nested_network(images, activations):
    inner = keras.Sequential([layers.Input((96, 96, 3)), layers.Conv2D(4, 3, name="conv")])
    inputs = layers.Input((96, 96, 3))
    hidden = layers.Dropout(0.5)(inner(layers.RandomFlip()(inputs)), training=True)
    outer = keras.Model(inputs, layers.Conv2D(2, 3, name="conv")(hidden))
    model = to_lucid(outer, image_value_range=(0, 255))
    assert [layer.depth for layer in model.layers if "conv" in layer.name] == [4, 2]
    expected = inner(images * 255)
    np.testing.assert_allclose(activations(model, images, "conv"), expected, rtol=1e-4, atol=1e-3)


class Custom(layers.Layer):
    def call(self, inputs):
        return inputs


def test_unsuitable_networks():
    image, gray, first = (layers.Input(shape) for shape in ((9, 9, 3), (9, 9, 1), (3, 9, 9)))
    channels_first = layers.Conv2D(2, 3, data_format="channels_first")(first)
    for network, message in (
        (keras.Model(image, Custom(name="mine")(image)), "'mine' is a Custom"),
        (keras.Model([image, gray], [image, gray]), "with 2 inputs"),
        (keras.Model(gray, layers.Conv2D(2, 3)(gray)), "axis -1 of input shape to have value 1"),
        (keras.Model(first, channels_first), "channels_first"),
        (keras.Model(image, layers.Conv2D(3, 3, groups=3)(image)), "3 groups"),
        (keras.Sequential([layers.Dense(1)]), "with 0 inputs"),
        ("inceptionv3", "inceptionv3 is a network with 0 inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            to_lucid(network)


def test_inception_names(lucid_inception, inception):
    zoo = import_lucid().modelzoo.vision_models.InceptionV3_slim
    expected = [(layer.name, layer.depth, layer.tags) for layer in zoo.layers[:-1]]
    assert [(x.name, x.depth, x.tags) for x in lucid_inception.layers] == expected
    np.testing.assert_array_equal(lucid_inception.image_value_range, [[-1] * 3, [1] * 3])
    assert lucid_inception.image_shape == [299, 299, 3]
    for name in ("mixed6b", "mixed4", "InceptionV3/InceptionV3/Mixed_6b/concat"):
        assert lucid_inception.get_layer(name) is lucid_inception.layers[9]
    assert lucid_inception.get_layer("conv2d_4a").name.endswith("Conv2d_4a_3x3/Relu")
    assert set(inception.backbone.layers) <= set(lucid_inception.by_name)
    nodes = {node.name for node in lucid_inception.graph_def.node}
    assert nodes >= {name for name, _, _ in expected} and "input" in nodes


@pytest.mark.parametrize("name", ["mixed6bb", "Mixed_6b"])
def test_unknown_layer_lists_the_nearest(optvis, lucid_inception, name, maximise):
    with pytest.raises(ValueError, match="nearest are .*'mixed6b'"):
        lucid_inception.get_layer(name)
    with pytest.raises(ValueError, match="nearest are .*'mixed6b'"):
        maximise(optvis, lucid_inception, optvis.objectives.channel(name, 0))


def test_inception_activations(lucid_inception, inception, images, assert_same_activations):
    names = {name: inception.layer(name).name for name in inception.backbone.layers}
    names |= {"InceptionV3/InceptionV3/Mixed_7a/concat": "mixed8"}
    inputs = inception.preprocess(images * 255)
    assert_same_activations(lucid_inception, inception.network, images, inputs, names)


def test_finetuned_network_on_real_patches(
    real_backbone, checkpoint, sample, assert_same_activations, activations
):
    finetuned = load_model(checkpoint, real_backbone)
    model = to_lucid(finetuned)
    patches = sample.images[::400]
    listed = {layer.name for layer in model.layers} - {"log_odds"}
    names = {
        layer.name: name
        for name, layer in model.by_name.items()
        if layer.name in listed and name in {x.name for x in finetuned.network.layers}
    }
    assert set(names) == listed
    names |= {name: finetuned.layer(name).name for name in finetuned.backbone.layers}
    inputs = finetuned.preprocess(patches)
    assert_same_activations(model, finetuned.network, patches / np.float32(255), inputs, names)
    # The network before finetuning is another one.
    deepest = finetuned.backbone.cam_layer
    before = load_model("pretrained", real_backbone).submodel([deepest])(inputs)[deepest]
    after = activations(model, patches / np.float32(255), deepest)
    assert np.abs(after - before).max() > 0.01 * np.abs(before).max()


def test_densenet_preprocessing_is_per_channel(images, assert_same_activations):
    model = load_model("random", "densenet121", seed=0)
    lucid_model = to_lucid(model)
    names = {name: model.layer(name).name for name in model.backbone.layers}
    inputs = model.preprocess(images * 255)
    assert_same_activations(lucid_model, model.network, images, inputs, names)
