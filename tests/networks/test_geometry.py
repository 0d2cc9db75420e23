import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.networks import INPUT, Model
from utils.networks.geometry import positions


def test_published_table(averaging_models):
    """Of github.com/google-research/receptive_field: field, step and padding of InceptionV3."""
    published = {
        "mixed5d": (127, 8, 50),
        "mixed6a": (159, 16, 58),
        "mixed6e": (927, 16, 442),
        "mixed7a": (1055, 32, 490),
        "mixed7c": (1311, 32, 618),
    }
    for layer, expected in published.items():
        for axis in positions(averaging_models["inceptionv3"], layer, (299, 299)):
            assert (axis.field, axis.step, axis.padding) == expected


LAYERS = [
    ("inceptionv3", "conv2d_4a", (161, 190)),
    ("inceptionv3", "mixed5d", (224, 300)),
    ("inceptionv3", "mixed6b", (500, 420)),
    ("densenet121", "dense2", (224, 300)),
    ("densenet121", "dense3", (448, 400)),
    ("resnet50", "conv3_block4_out", (300, 224)),
]


@pytest.mark.parametrize(("backbone", "layer", "size"), LAYERS)
def test_centroids_of_gradients(averaging_models, backbone, layer, size):
    model = averaging_models[backbone]
    network = model.submodel([layer])
    image = tf.ones((1, *size, 3))
    with tf.GradientTape() as tape:
        tape.watch(image)
        activations = network(image, training=False)[layer]
        middle = [count // 2 for count in activations.shape[1:3]]
        value = tf.reduce_sum(activations[0, middle[0], middle[1]])
    gradient = np.abs(tape.gradient(value, image).numpy()[0]).sum(axis=-1).astype(float)
    axes = positions(model, layer, size)
    assert tuple(axis.count for axis in axes) == activations.shape[1:3]
    for direction, (axis, index) in enumerate(zip(axes, middle, strict=True)):
        along = gradient.sum(axis=1 - direction)
        centroid = along @ np.arange(len(along)) / along.sum()
        assert centroid == pytest.approx(axis.first + index * axis.step, abs=0.5)
        assert np.count_nonzero(along) <= axis.field


def chain(tiny_backbone, build):
    image = keras.Input((None, None, 3))
    return Model(keras.Model(image, build(image)), tiny_backbone, "random", "test", "")


def test_every_kind_of_layer(tiny_backbone):
    layers = keras.layers

    def build(x):
        x = layers.ZeroPadding2D(((3, 0), (1, 2)), name="padded")(x)
        x = layers.Cropping2D(((1, 0), (0, 1)), name="cropped")(x)
        x = layers.Conv2D(2, 3, dilation_rate=2, name="dilated")(x)
        x = layers.AveragePooling2D(2, name="pooled")(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Multiply(name="gated")([x, gate])
        return layers.DepthwiseConv2D(4, strides=3, padding="same", name="same")(x)

    model = chain(tiny_backbone, build)
    expected = {  # by hand: first centre, step, receptive field along height and width
        "padded": ((-3, 1, 1), (-1, 1, 1)),
        "cropped": ((-2, 1, 1), (-1, 1, 1)),
        "dilated": ((0, 1, 5), (1, 1, 5)),
        "pooled": ((0.5, 2, 6), (1.5, 2, 6)),
        "gated": ((0.5, 2, 6), (1.5, 2, 6)),
    }
    for layer, values in expected.items():
        for axis, value in zip(positions(model, layer, (20, 21)), values, strict=True):
            assert axis[:3] == value
    # 9 positions along both axes; 3 windows of 4 take 10, and TensorFlow pads one at the end.
    height, width = positions(model, "same", (20, 21))
    assert height == (3.5, 6, 12, 3) and width == (4.5, 6, 12, 3)
    shape = model.submodel(["same"])(tf.zeros((1, 20, 21, 3)))["same"].shape
    assert shape[1:3] == (3, 3)
    assert positions(model, INPUT, (20, 21)) == ((0, 1, 1, 20), (0, 1, 1, 21))


def test_layers_without_a_place(tiny_backbone):
    layers = keras.layers

    def disagreeing(x):
        left = layers.Cropping2D(((1, 0), (1, 0)))(x)
        right = layers.Cropping2D(((0, 1), (0, 1)))(x)
        return layers.Concatenate(name="both")([left, right])

    with pytest.raises(ValueError, match=r"both joins branches .*0 \+ 1i and 1 \+ 1i pixels"):
        positions(chain(tiny_backbone, disagreeing), "both", (20, 20))

    def upsampled(x):
        return layers.UpSampling2D(name="up")(layers.AveragePooling2D(2)(x))

    with pytest.raises(ValueError, match="up upsamples"):
        positions(chain(tiny_backbone, upsampled), "up", (20, 20))

    def pooled(x):
        return layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)

    with pytest.raises(ValueError, match="mean is averaged over the image"):
        positions(chain(tiny_backbone, pooled), "mean", (20, 20))
