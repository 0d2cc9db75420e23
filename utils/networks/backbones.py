"""Architectures: builder, ImageNet weights, preprocessing and analysis layers of each.

A new architecture is one more entry of `BACKBONES`.
"""

import difflib
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import keras
import numpy as np

from utils import assets

_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
_DOWNLOAD_TIMEOUT = 10  # seconds without an answer


class WeightsUnavailable(RuntimeError):
    """Weights that were asked for are unavailable; the message says how to get them."""


@dataclass(frozen=True)
class Backbone:
    """A convolutional architecture, without weights; all sizes are in pixels."""

    name: str  # in arguments, files and folders
    title: str  # in figures and text
    application: Callable[..., keras.Model]  # builder with the arguments of keras.applications
    mean: tuple[float, float, float]
    std: tuple[float, float, float]  # (image - mean) / std maps RGB in [0, 255] to the network's
    minimum_size: int  # at which every layer keeps at least one pixel
    default_size: int  # of the ImageNet training
    # Analysis layers from input to output: the name that users see to the Keras layer's name, or to
    # the position of an anonymous Activation layer, which Keras numbers through the whole process.
    layers: Mapping[str, str | int]
    visualised_layers: tuple[str, ...]  # whose channels are visualised by default
    cam_layer: str  # last analysis layer with spatial extent, the default of the heat maps
    pretrained: Callable[[], tuple[Path, str]]  # finds the ImageNet weights: file and origin
    # Layers at which heat maps are compared, from the middle to the last. They lie behind a ReLU,
    # since Grad-CAM++ and LayerCAM assume activations that are not negative.
    cam_layers: tuple[str, ...] = ()
    # Arguments of `finetune`, chosen on inner groups of the training patches: see
    # benchmarks/choose_finetuning.py.
    finetuning: Mapping[str, float] = field(default_factory=dict)
    bgr: bool = False  # whether the weights expect BGR; the network built takes RGB and reverses it

    def build(self) -> keras.Model:
        """Build the convolutional part for images of any size."""
        shape = (None, None, 3)
        if not self.bgr:
            return self.application(include_top=False, weights=None, input_shape=shape)
        image = keras.Input(shape)
        network = self.application(include_top=False, weights=None, input_tensor=image[..., ::-1])
        return keras.Model(image, network.outputs[0])

    def preprocess(self, images):
        """Map RGB images in [0, 255], uint8 or float32 array or tensor, to the network's range."""
        return (images - np.float32(self.mean)) / np.float32(self.std)

    def layer(self, network: keras.Model, name: str) -> keras.Layer:
        """Find an analysis layer, or any layer by Keras' name, in a network of this backbone."""
        activations = (x for x in network.layers if isinstance(x, keras.layers.Activation))
        by_name = {layer.name: layer for layer in network.layers}
        layer = {**by_name, **dict(enumerate(activations))}.get(self.layers.get(name, name))
        if layer is not None:
            return layer
        nearest = nearest_names(name, [*self.layers, *by_name]) or self.layers
        raise ValueError(
            f"{self.title} has no layer {name!r}. Nearest: {', '.join(nearest)}. "
            f"Analysis layers: {', '.join(self.layers)}."
        )


def _from_keras(title: str, file: str, md5: str) -> tuple[Path, str]:
    """Path and origin of weights named by a variable, in Keras' cache, or downloaded by Keras."""
    variable = f"{title.upper().replace('-', '')}_IMAGENET_WEIGHTS"
    if os.environ.get(variable):
        path = Path(os.environ[variable]).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{variable} is {path}, which is no file: correct or unset it.")
        return path, f"{variable} ({path.name})"
    url = f"{_KERAS_URL}{file}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    try:
        path = keras.utils.get_file(origin=url, cache_subdir="models", file_hash=md5)
    except Exception as error:  # Keras raises a bare Exception for whatever a download meets
        raise WeightsUnavailable(
            f"{title}'s ImageNet weights cannot be downloaded here ({first_line(error)}): run once "
            f"with internet access, or let {variable} name a Keras file of the topless weights."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return Path(path), "keras.applications, ImageNet"


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# The names of the layers are the paper's, from TF-slim.
_INCEPTION_BLOCKS = _names("5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c")
INCEPTIONV3 = Backbone(
    name="inceptionv3",
    title="InceptionV3",
    application=keras.applications.InceptionV3,
    mean=(127.5,) * 3,
    std=(127.5,) * 3,
    minimum_size=75,
    default_size=299,
    layers={
        "conv2d_2b": 2,
        "conv2d_4a": 4,
        **{f"mixed{block}": f"mixed{i}" for i, block in enumerate(_INCEPTION_BLOCKS)},
    },
    visualised_layers=_names("mixed5b mixed5c mixed6a mixed6e mixed7a mixed7c"),
    cam_layer="mixed7c",
    cam_layers=_names("mixed6a mixed7a mixed7c"),
    pretrained=partial(
        _from_keras, "InceptionV3", "inception_v3/inception_v3", "bcbd6486424b2319ff4ef7d526e38f63"
    ),
    finetuning={"learning_rate": 6e-5},
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
    visualised_layers=_names("dense1 transition1 transition2 dense3 transition3 dense4"),
    cam_layer="dense4",
    cam_layers=_names("pool3_relu pool4_relu dense4"),  # the first two open the transitions
    pretrained=lambda: (assets.path("densenet", "model.weights.h5"), assets.origin("densenet")),
    finetuning={"learning_rate": 2e-4},
)
_RESIDUAL = _names(
    "conv2_block1_out conv2_block3_out conv3_block2_out conv3_block4_out "
    "conv4_block3_out conv4_block6_out conv5_block1_out conv5_block3_out"
)
RESNET50 = Backbone(
    name="resnet50",
    title="ResNet-50",
    application=keras.applications.ResNet50,
    mean=(123.68, 116.779, 103.939),
    std=(1, 1, 1),
    minimum_size=32,
    default_size=224,
    layers={name: name for name in ("conv1_relu", *_RESIDUAL)},
    visualised_layers=tuple(_RESIDUAL[i] for i in (0, 1, 3, 4, 5, 7)),
    cam_layer="conv5_block3_out",
    cam_layers=_names("conv3_block4_out conv4_block6_out conv5_block3_out"),
    bgr=True,
    pretrained=partial(
        _from_keras, "ResNet-50", "resnet/resnet50", "4d473c1dd8becc155b73f8504c6f6626"
    ),
)
BACKBONES: dict[str, Backbone] = {b.name: b for b in (INCEPTIONV3, DENSENET121, RESNET50)}


def get_backbone(name: str | Backbone) -> Backbone:
    """Return the backbone of this name (or the backbone itself).

    Parameters
    ----------
    name : str, a key of `BACKBONES`, or Backbone

    Returns
    -------
    Backbone
    """
    if isinstance(name, Backbone):
        return name
    if name not in BACKBONES:
        raise ValueError(f"backbone is {name!r}; known backbones: {', '.join(BACKBONES)}.")
    return BACKBONES[name]


def choose_backbone(requested: str = "auto") -> str:
    """Resolve the notebooks' ``BACKBONE``.

    Parameters
    ----------
    requested : str
        Key of `BACKBONES`, or ``auto``: InceptionV3 where its weights are available, otherwise
        DenseNet-121, with a printed sentence on how to get InceptionV3.

    Returns
    -------
    str
    """
    if requested != "auto":
        return get_backbone(requested).name
    try:
        INCEPTIONV3.pretrained()
    except WeightsUnavailable as error:
        print(f"BACKBONE = 'auto' takes DenseNet-121, since {error}")
        return DENSENET121.name
    return INCEPTIONV3.name


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """At most five known names most like a wrong one, ignoring case and underscores."""
    folded = {other.lower().replace("_", ""): other for other in known}
    wanted = name.lower().replace("_", "")
    return [folded[key] for key in difflib.get_close_matches(wanted, folded, n=5, cutoff=0.4)]


def first_line(error: BaseException) -> str:
    """Return the first line of an error, for use in another message."""
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]
