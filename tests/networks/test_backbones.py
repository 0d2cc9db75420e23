import keras
import numpy as np
import pytest

from utils.networks.backbones import BACKBONES, DENSENET121, INCEPTIONV3, get_backbone

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
}


@pytest.mark.parametrize("name", BACKBONES)
def test_layers_are_right_however_many_models_exist(name):
    backbone = BACKBONES[name]
    for network in (backbone.build(), backbone.build(96)):
        found = {layer: backbone.layer(network, layer) for layer in backbone.layers}
        assert {k: v.output.shape[-1] for k, v in found.items()} == CHANNELS[name]
        order = [network.layers.index(layer) for layer in found.values()]
        assert order == sorted(order)
        assert found[backbone.cam_layer].output is network.outputs[0]


def test_convolutions_are_after_their_relu():
    network = INCEPTIONV3.build(96)
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


@pytest.mark.parametrize("name", BACKBONES)
def test_minimum_size(name):
    backbone = BACKBONES[name]
    assert min(backbone.build(backbone.minimum_size).output_shape[1:3]) >= 1
    with pytest.raises(ValueError, match=f"at least {backbone.minimum_size}"):
        backbone.build(backbone.minimum_size - 1)


def test_missing_names_list_the_nearest():
    with pytest.raises(ValueError, match="mixed5b"):
        INCEPTIONV3.layer(INCEPTIONV3.build(96), "mixed_5b")
    with pytest.raises(ValueError, match="inceptionv3, densenet121"):
        get_backbone("resnet50")
