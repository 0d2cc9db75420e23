from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest

from utils.networks import load_model
from utils.networks.backbones import DENSENET121, INCEPTIONV3
from utils.networks.checkpoints import add_head, flatten, tumor_logit

SIZE = 75


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _write_keras_2(network, path, *, whole):
    """Write weights as Keras 2.1 did: groups in the order of layers, convolutions from 1 on."""
    counts = {}
    with h5py.File(path, "w") as root:
        names = []
        file = root
        if whole:
            root.attrs["model_config"] = b'{"class_name": "Model", "config": {"name": "old"}}'
            root.attrs["keras_version"] = b"2.1.6"
            file = root.create_group("model_weights")
            root["optimizer_weights/training/Adam/predictions_m"] = np.zeros((2048, 1))
        for layer in network.layers:
            kind = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization"}.get(
                type(layer).__name__
            )
            counts[kind] = counts.get(kind, 0) + 1
            name = f"{kind}_{counts[kind]}" if kind else layer.name
            names.append(name.encode())
            group = file.create_group(name)
            weights = [f"{name}/{w.name}:0".encode() for w in layer.weights]
            group.attrs["weight_names"] = weights
            for key, weight in zip(weights, layer.weights, strict=True):
                group[key.decode()] = weight.numpy()
        file.attrs["layer_names"] = names
        file.attrs["keras_version"] = b"2.1.6"
        file.attrs["backend"] = b"tensorflow"


@pytest.mark.parametrize("kind", ["keras", "weights.h5", "keras 2 weights", "keras 2 model", "h5"])
def test_checkpoints_give_the_same_probabilities(kind, inception, batch, tmp_path):
    expected = inception(INCEPTIONV3.preprocess(batch), training=False).numpy()[:, 0]
    if kind == "keras":
        path = tmp_path / "classifier.keras"
        inception.save(path)
    elif kind == "weights.h5":
        path = tmp_path / "classifier.weights.h5"
        inception.save_weights(path)
    elif kind.startswith("keras 2"):
        path = tmp_path / "tumor_classifier.h5"
        _write_keras_2(inception, path, whole=kind.endswith("model"))
    else:
        path = tmp_path / "whole.h5"
        inception.save(path)
    model = load_model(path, "inceptionv3")
    np.testing.assert_allclose(model.predict(batch), expected, atol=1e-5)
    assert 0.02 < expected.std() or abs(expected[0] - expected[1]) > 1e-3


def test_single_softmax_unit_is_read_as_a_sigmoid(batch, tmp_path, head):
    network = keras.applications.InceptionV3(weights=None, classes=1, input_shape=(SIZE, SIZE, 3))
    network.get_layer("predictions").set_weights(head(2048))
    path = tmp_path / "tumor_classifier.h5"
    network.save(path)
    model = load_model(path, "inceptionv3")
    pooled = keras.Model(network.inputs[0], network.get_layer("avg_pool").output)
    kernel, bias = head(2048)
    features = pooled(INCEPTIONV3.preprocess(batch), training=False).numpy()
    np.testing.assert_allclose(
        model.predict(batch), _sigmoid(features @ kernel + bias)[:, 0], atol=1e-5
    )


def _nested(kind, units, activation):
    base = keras.applications.DenseNet121(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    head = [
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(units, activation=activation),
    ]
    if kind == "sequential":
        return keras.Sequential([keras.Input((SIZE, SIZE, 3)), base, *head])
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.RandomFlip()(image)
    x = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(x), training=False)
    for layer in head:
        x = layer(x)
    return keras.Model(image, x)


@pytest.mark.parametrize(
    ("kind", "units", "activation"),
    [("sequential", 2, "softmax"), ("functional", 1, "sigmoid"), ("functional", 2, None)],
)
def test_nested_backbones_are_flattened(kind, units, activation, batch, tmp_path, head):
    network = _nested(kind, units, activation)
    network.layers[-1].set_weights(head(1024, units))
    path = tmp_path / "nested.keras"
    network.save(path)
    model = load_model(path, "densenet121")
    assert model.preprocesses == (kind == "functional")
    inputs = batch.astype(np.float32) if model.preprocesses else DENSENET121.preprocess(batch)
    outputs = network(inputs, training=False).numpy()
    if activation is None:
        expected = _sigmoid(outputs[:, 1] - outputs[:, 0])
    else:
        expected = outputs[:, -1]
    np.testing.assert_allclose(model.predict(batch), expected, atol=1e-5)
    inner = model.submodel(["dense2"], logit=True)(model.preprocess(batch), training=False)
    assert inner["dense2"].shape[-1] == 512


def test_flattening_leaves_the_model_alone(batch):
    network = _nested("sequential", 1, "sigmoid")
    inputs = DENSENET121.preprocess(batch)
    before = network(inputs, training=False).numpy()
    flat = flatten(network)
    for variable in flat.trainable_variables:
        variable.assign(variable + 1)
    np.testing.assert_array_equal(network(inputs, training=False).numpy(), before)


def test_nested_weights_file(batch, tmp_path):
    network = _nested("sequential", 1, "sigmoid")
    path = tmp_path / "nested.weights.h5"
    network.save_weights(path)
    expected = network(DENSENET121.preprocess(batch), training=False).numpy()[:, 0]
    model = load_model(path, "densenet121")
    np.testing.assert_allclose(model.predict(batch), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_weights_of_another_network_are_refused(suffix, inception, tmp_path):
    path = tmp_path / f"classifier.{suffix}"
    (inception.save if suffix == "keras" else inception.save_weights)(path)
    with pytest.raises(ValueError, match=f"{path.name}.*DenseNet-121"):
        load_model(path, "densenet121")


@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_networks_that_take_bgr(suffix, tiny_classifier, images, tmp_path):
    """Saved by a user who reverses the channels himself; and saved again after reading."""
    network, backbone = tiny_classifier.network, replace(tiny_classifier.backbone, bgr=True)
    expected = network(backbone.preprocess(images)[..., ::-1], training=False).numpy()[:, 0]
    assert np.ptp(expected) > 1e-3 and (expected != tiny_classifier.predict(images)).all()
    path = tmp_path / f"classifier.{suffix}"
    for _ in range(2):
        (network.save if suffix == "keras" else network.save_weights)(path)
        model = load_model(path, backbone)
        assert not model.preprocesses
        np.testing.assert_allclose(model.predict(images), expected, atol=1e-5)
        network = model.network


def _nodes(network):
    """How often each layer of a network and of those nested in it has been called, and read."""
    counts = []
    for layer in network.layers:
        counts.append((len(layer._inbound_nodes), len(layer._outbound_nodes)))
        counts += _nodes(layer) if isinstance(layer, keras.Model) else []
    return counts


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_flattening_adds_no_node_to_the_layers(tiny_backbone, kind):
    inner = tiny_backbone.build()
    layers = [inner, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)]
    if kind == "sequential":
        network = keras.Sequential([keras.Input((16, 16, 3)), *layers])
    else:
        x = image = keras.Input((16, 16, 3))
        for layer in layers:
            x = layer(x)
        network = keras.Model(image, x)
    before = _nodes(network)
    flat = flatten(network)
    assert _nodes(network) == before
    assert not {id(layer) for layer in flat.layers} & {id(layer) for layer in inner.layers}
    batch = np.random.default_rng(0).random((2, 16, 16, 3), dtype=np.float32)
    np.testing.assert_allclose(flat(batch), network(batch), atol=1e-6)


def test_names_that_occur_twice_are_told_apart():
    inner = keras.Sequential([keras.Input((9, 9, 3)), keras.layers.Conv2D(4, 3, name="conv")])
    image = keras.Input((9, 9, 3))
    outer = keras.Model(image, keras.layers.Conv2D(2, 3, name="conv")(inner(image)), name="outer")
    flat = flatten(outer)
    assert [layer.name for layer in flat.layers[1:]] == ["conv", "outer_conv"]
    two = keras.Model([image, keras.Input((9, 9, 3))], [image])
    with pytest.raises(ValueError, match="2 inputs"):
        flatten(two)


@pytest.mark.parametrize("units", [1, 2])
def test_a_weights_file_needs_one_network(tiny_backbone, tmp_path, units):
    network = add_head(tiny_backbone.build(), units)
    path = tmp_path / "tiny.weights.h5"
    network.save_weights(path)
    built = []

    def application(**options):
        built.append(options)
        return tiny_backbone.application(**options)

    model = load_model(path, replace(tiny_backbone, application=application))
    assert len(built) == 1
    batch = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    expected = network(tiny_backbone.preprocess(batch)).numpy()
    np.testing.assert_allclose(model.predict(batch), expected[:, -1], atol=1e-6)


def test_statistics_of_a_normalisation_are_copied(tiny_classifier, images):
    """They are more than weights: Keras computes with what it derives from them."""
    x = image = keras.Input((16, 16, 3))
    normalisation = keras.layers.Normalization()
    normalisation.adapt(np.float32(images))
    x = normalisation(x)
    network = keras.Model(image, tiny_classifier.network(x))
    expected = network(np.float32(images)).numpy()
    flat = flatten(network)
    np.testing.assert_allclose(flat(np.float32(images)), expected, atol=1e-6)
    model = replace(tiny_classifier, network=flat, preprocesses=True)
    np.testing.assert_allclose(model.copy().predict(images), expected[:, 0], atol=1e-6)


def test_several_outputs_are_kept_and_those_of_a_nested_network_refused():
    image = keras.Input((9, 9, 3))
    hidden = keras.layers.Conv2D(4, 3)(image)
    two = keras.Model(image, [hidden, keras.layers.ReLU()(hidden)], name="two")
    batch = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype(np.float32)
    for output, expected in zip(flatten(two)(batch), two(batch), strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-6)
    outer = keras.Model(image, two(image)[0])
    with pytest.raises(ValueError, match="two is a network with 1 inputs and 2 outputs"):
        flatten(outer)


def test_layers_that_another_network_uses_too_are_copied_as_this_one_uses_them():
    other = keras.Sequential([keras.Input((9, 9, 3)), keras.layers.Conv2D(4, 3, name="conv")])
    image = keras.Input((9, 9, 3))
    network = keras.Model(image, other.layers[0](keras.layers.Rescaling(0.5)(image)))
    batch = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype(np.float32)
    flat = flatten(network)
    np.testing.assert_allclose(flat(batch), network(batch), atol=1e-6)
    assert flat.get_layer("conv").output is flat.outputs[0]


def test_networks_without_a_head(tiny_model):
    with pytest.raises(ValueError, match="finetune first"):
        tumor_logit(tiny_model.network)


def test_more_than_two_classes_say_what_to_do(tiny_model):
    with pytest.raises(ValueError, match="one output, one class against the rest"):
        tumor_logit(add_head(tiny_model.network, 3))
