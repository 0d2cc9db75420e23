from dataclasses import replace

import keras
import numpy as np
import pytest

from utils.networks import BACKBONES, choose_backbone, get_backbone, layer_features, load_model
from utils.networks.backbones import DENSENET121, INCEPTIONV3, RESNET50

CHANNELS = {
    "inceptionv3": {
        **{"conv2d_2b": 64, "conv2d_4a": 192, "mixed5b": 256, "mixed5c": 288, "mixed5d": 288},
        **{f"mixed6{letter}": 768 for letter in "abcde"},
        **{"mixed7a": 1280, "mixed7b": 2048, "mixed7c": 2048},
    },
    "densenet121": {
        **{"conv1": 64, "dense1": 256, "transition1": 128, "dense2": 512, "transition2": 256},
        **{"dense3_12": 640, "dense3": 1024, "transition3": 512, "dense4_8": 768, "dense4": 1024},
    },
    "resnet50": {
        **{"conv1_relu": 64, "conv2_block1_out": 256, "conv2_block3_out": 256},
        **{"conv3_block2_out": 512, "conv3_block4_out": 512},
        **{"conv4_block3_out": 1024, "conv4_block6_out": 1024},
        **{"conv5_block1_out": 2048, "conv5_block3_out": 2048},
    },
}


@pytest.mark.parametrize("name", BACKBONES)
def test_layers_are_right_however_many_models_exist(name):
    backbone = BACKBONES[name]
    for network in (backbone.build(), backbone.build()):
        layers = {layer: backbone.layer(network, layer) for layer in backbone.layers}
        assert {k: v.output.shape[-1] for k, v in layers.items()} == CHANNELS[name]
        order = [network.layers.index(layer) for layer in layers.values()]
        assert order == sorted(order)
        assert layers[backbone.cam_layer].output is network.outputs[0]
    assert set(backbone.visualised_layers) < set(layers)
    assert all(backbone.layer(network, layer) for layer in backbone.cam_layers)


def test_convolutions_are_after_their_relu():
    network = INCEPTIONV3.build()
    images = np.random.default_rng(0).normal(size=(1, 96, 96, 3)).astype(np.float32)
    for name in ("conv2d_2b", "conv2d_4a"):
        layer = INCEPTIONV3.layer(network, name)
        assert keras.Model(network.inputs[0], layer.output)(images).numpy().min() >= 0


def test_preprocessing_is_that_of_keras():
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    for backbone, module in (
        (INCEPTIONV3, keras.applications.inception_v3),
        (DENSENET121, keras.applications.densenet),
    ):
        expected = module.preprocess_input(images.astype(np.float32))
        np.testing.assert_allclose(backbone.preprocess(images), expected, atol=1e-6)
    expected = keras.applications.resnet.preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(RESNET50.preprocess(images)[..., ::-1], expected, atol=1e-4)


def test_resnet_takes_rgb_and_computes_what_that_of_keras_computes():
    """Keras' preprocessing reverses the channels; here the network does that itself."""
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    model = load_model("random", "resnet50")
    reference = keras.applications.ResNet50(include_top=False, weights=None)
    reference.set_weights(model.network.get_weights())
    inputs = keras.applications.resnet.preprocess_input(images.astype(np.float32))
    expected = reference(inputs, training=False).numpy()
    outputs = model.network(model.preprocess(images), training=False).numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    features = layer_features(model, images)
    assert list(features) == list(RESNET50.layers)
    mean = expected.mean(axis=(1, 2))
    np.testing.assert_allclose(features["conv5_block3_out"], mean, rtol=1e-3, atol=mean.max() / 1e4)


def test_users_add_backbones(tiny_backbone, monkeypatch):
    monkeypatch.setitem(BACKBONES, "added", replace(tiny_backbone, name="added"))
    assert choose_backbone("added") == "added"
    assert load_model("random", "added").title == "random Tiny"


@pytest.mark.parametrize("name", BACKBONES)
def test_minimum_size(name):
    backbone = BACKBONES[name]
    shape = (1, backbone.minimum_size, backbone.minimum_size, 3)
    assert min(backbone.build().compute_output_shape(shape)[1:3]) >= 1


def test_missing_names_list_the_nearest():
    with pytest.raises(ValueError, match="mixed5b"):
        INCEPTIONV3.layer(INCEPTIONV3.build(), "mixed_5b")
    with pytest.raises(ValueError, match="inceptionv3, densenet121, resnet50"):
        get_backbone("vgg16")
