"""Architectures: builder, preprocessing, minimum input size and analysis layers.

The analysis layers carry the paper's (TF-slim) names wherever a user meets them. Keras' own names
stay in this module: Keras numbers anonymous layers (``conv2d_17``) on through the whole process, so
such a layer is found by its position in the network, never by its number.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from utils.networks.pretrained import densenet121_weights, inceptionv3_weights


@dataclass(frozen=True)
class Backbone:
    """A convolutional architecture, without weights.

    Attributes
    ----------
    name : str
        Short name used in arguments, file names and folders.
    title : str
        Name for figures and text.
    mean, std : tuple of 3 float
        ``(image - mean) / std`` turns RGB in [0, 255] into what the network expects.
    minimum_size : int
        Smallest height and width, in pixels, at which no layer runs out of pixels.
    default_size : int
        Height and width, in pixels, of the ImageNet training.
    layers : mapping of str to str or int
        Analysis layers from input to output: the paper's name to the Keras layer's name, or to
        the position of an anonymous ``Activation`` layer in the network.
    visualised_layers : tuple of str
        The analysis layers whose channels are visualised by default.
    cam_layer : str
        Last analysis layer with spatial extent, the default of the heat maps.
    cam_layers : tuple of str
        Layers behind a ReLU, from the middle to the last, at which heat maps are
        compared; Grad-CAM++ and LayerCAM assume activations that are not negative.
    pretrained : callable, optional
        Finds the ImageNet weights: returns the path of a Keras weights file and its origin.
    """

    name: str
    title: str
    application: Callable[..., keras.Model]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    minimum_size: int
    default_size: int
    layers: Mapping[str, str | int]
    visualised_layers: tuple[str, ...]
    cam_layer: str
    cam_layers: tuple[str, ...] = ()
    pretrained: Callable[[], tuple[Path, str]] | None = None

    def build(self, input_size: int | None = None) -> keras.Model:
        """Build the convolutional part, ending in the last feature map, with Keras' initial values.

        Parameters
        ----------
        input_size : int, optional
            Fixed height and width in pixels; by default the network takes any size.
        """
        if input_size is not None and input_size < self.minimum_size:
            raise ValueError(
                f"input_size is {input_size}, but {self.title} needs at least "
                f"{self.minimum_size} pixels: take a larger size."
            )
        return self.application(
            include_top=False, weights=None, input_shape=(input_size, input_size, 3)
        )

    def preprocess(self, images):
        """Map RGB images in [0, 255] to the network's input range.

        Parameters
        ----------
        images : array or tensor, (..., 3), uint8 or float
            RGB values in [0, 255].

        Returns
        -------
        array or tensor, (..., 3), float32
            The kind that was given: NumPy in, NumPy out.
        """
        if isinstance(images, np.ndarray):
            images = images.astype(np.float32)
        return (images - np.float32(self.mean)) / np.float32(self.std)

    def layer(self, network: keras.Model, name: str) -> keras.Layer:
        """Find a layer of a network of this backbone.

        Parameters
        ----------
        network : keras.Model
            The backbone as one graph, with or without a head.
        name : str
            An analysis layer, or any layer name of `network` itself.
        """
        target = self.layers.get(name)
        if isinstance(target, int):
            activations = [
                layer for layer in network.layers if isinstance(layer, keras.layers.Activation)
            ]
            if target < len(activations):
                return activations[target]
        by_name = {layer.name: layer for layer in network.layers}
        found = by_name.get(target if isinstance(target, str) else name)
        if found is not None:
            return found
        known = [*self.layers, *by_name]
        nearest = nearest_names(name, known) or list(self.layers)
        raise ValueError(
            f"{self.title} has no layer {name!r}. Nearest: {', '.join(nearest)}. "
            f"Analysis layers: {', '.join(self.layers)}."
        )


INCEPTIONV3 = Backbone(
    name="inceptionv3",
    title="InceptionV3",
    application=keras.applications.InceptionV3,
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    minimum_size=75,
    default_size=299,
    layers={
        "conv2d_2b": 2,
        "conv2d_4a": 4,
        "mixed5b": "mixed0",
        "mixed5c": "mixed1",
        "mixed5d": "mixed2",
        "mixed6a": "mixed3",
        "mixed6b": "mixed4",
        "mixed6c": "mixed5",
        "mixed6d": "mixed6",
        "mixed6e": "mixed7",
        "mixed7a": "mixed8",
        "mixed7b": "mixed9",
        "mixed7c": "mixed10",
    },
    visualised_layers=(
        *("mixed5b", "mixed5c", "mixed5d", "mixed6a"),
        *("mixed6e", "mixed7a", "mixed7b", "mixed7c"),
    ),
    cam_layer="mixed7c",
    cam_layers=("mixed6a", "mixed7a", "mixed7c"),
    pretrained=inceptionv3_weights,
)
# Huang et al. (2017) count dense blocks and transitions; a block ends in its last concatenation.
DENSENET121 = Backbone(
    name="densenet121",
    title="DenseNet-121",
    application=keras.applications.DenseNet121,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    minimum_size=32,
    default_size=224,
    layers={
        "conv1": "conv1_relu",
        "dense1": "conv2_block6_concat",
        "transition1": "pool2_pool",
        "dense2": "conv3_block12_concat",
        "transition2": "pool3_pool",
        "dense3_12": "conv4_block12_concat",
        "dense3": "conv4_block24_concat",
        "transition3": "pool4_pool",
        "dense4_8": "conv5_block8_concat",
        "dense4": "relu",
    },
    visualised_layers=(
        *("dense1", "transition1", "dense2", "transition2"),
        *("dense3", "transition3", "dense4_8", "dense4"),
    ),
    cam_layer="dense4",
    cam_layers=("pool3_relu", "pool4_relu", "dense4"),  # the first two open the transitions
    pretrained=densenet121_weights,
)
BACKBONES: dict[str, Backbone] = {b.name: b for b in (INCEPTIONV3, DENSENET121)}


def get_backbone(name: str | Backbone) -> Backbone:
    """Return the backbone of this name (or the backbone itself).

    Parameters
    ----------
    name : str or Backbone

    Returns
    -------
    Backbone
    """
    if isinstance(name, Backbone):
        return name
    if name not in BACKBONES:
        raise ValueError(f"backbone is {name!r}; known backbones: {', '.join(BACKBONES)}.")
    return BACKBONES[name]


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Find the names that are most like a wrong one, ignoring case and underscores.

    Parameters
    ----------
    name : str
    known : iterable of str

    Returns
    -------
    list of str
        At most five, the nearest first; empty where nothing is alike.
    """
    folded = {other.lower().replace("_", ""): other for other in known}
    wanted = name.lower().replace("_", "")
    return [folded[key] for key in difflib.get_close_matches(wanted, folded, n=5, cutoff=0.4)]
