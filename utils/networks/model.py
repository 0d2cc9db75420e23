"""A network with its weights, architecture and provenance, and its features."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from utils.cluster import map_chunks
from utils.networks.backbones import Backbone
from utils.networks.checkpoints import flatten, tumor_logit
from utils.patches.images import check_rgb
from utils.patches.lazy import LazyImages
from utils.progress import progress_bar

CHUNK = 4  # batches that a worker computes at once
INPUT = "input"  # in place of a layer's name: the preprocessed image itself
Tensors = dict[str, tf.Tensor]
Features = dict[str, np.ndarray]

_mean = partial(tf.reduce_mean, axis=(1, 2))  # over positions
_sum = partial(tf.reduce_sum, axis=(1, 2))


@dataclass(frozen=True)
class Model:
    """A network with its weights, architecture and provenance."""

    # One flat graph from preprocessed images (N, H, W, 3) to the head's output if the network is
    # finetuned, else to the last feature map.
    network: keras.Model
    backbone: Backbone
    weights: str  # "random", "shuffled", "pretrained", "finetuned" or the path that was given
    origin: str  # where the weights come from, for provenance
    sha256: str  # of the weights' file, or of the values of random or shuffled weights
    preprocesses: bool = False  # whether the network maps [0, 255] to its range by itself
    unsound_layers: tuple[str, ...] = ()  # analysis layers that lack pretrained kernels
    _compiled: dict = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def identity(self) -> tuple:
        """Key that identifies this network among all others."""
        if not self.sha256:
            raise TypeError(f"the weights of {self.title} have no hash: load it by load_model.")
        return self.backbone.name, self.weights, self.sha256, self.preprocesses

    @property
    def title(self) -> str:
        """Name for figures: "finetuned InceptionV3", or "InceptionV3 (file.h5)" for a path."""
        architecture, path = self.backbone.title, Path(self.weights)
        return f"{architecture} ({path.name})" if path.suffix else f"{self.weights} {architecture}"

    @property
    def cam_layer(self) -> str:
        """Default layer of the heat maps: the backbone's, or the last sound one before it."""
        sound = [name for name in self.backbone.layers if name not in self.unsound_layers]
        default = self.backbone.cam_layer
        return sound[-1] if sound and default in self.unsound_layers else default

    def __getstate__(self) -> dict:
        """Pickle neither what is compiled nor symbolic tensors, and equal networks alike.

        Keras' own files of a network have the time in them.
        """
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        network = type(self.network), self.network.get_config(), self.network.get_weights()
        return {**state, "network": network, "_compiled": {}}

    def __setstate__(self, state: dict) -> None:
        """Build the network again."""
        kind, config, weights = state["network"]
        network = kind.from_config(config)
        network.set_weights(weights)
        self.__dict__.update({**state, "network": network})

    def copy(self) -> "Model":
        """Return a model whose weights can be changed without changing this one's."""
        return replace(self, network=flatten(self.network))

    def layer(self, name: str) -> keras.Layer:
        """Return the Keras layer of an analysis layer (or of Keras' own name)."""
        return self.backbone.layer(self.network, name)

    def preprocess(self, images):
        """Map RGB images in [0, 255] to what `network` takes, as float32."""
        if isinstance(images, np.ndarray):
            images = images.astype(np.float32)
        return images if self.preprocesses else self.backbone.preprocess(images)

    @cached_property
    def logit(self):
        """Symbolic log-odds of tumor, ``(N,)``, whatever the head: see `tumor_logit`."""
        return tumor_logit(self.network)

    def submodel(self, layers: Sequence[str], *, logit: bool = False) -> keras.Model:
        """Cut the network, sharing its weights: images to activations by layer, and ``logit``."""
        outputs = {name: self.layer(name).output for name in layers}
        if logit:
            outputs["logit"] = self.logit
        return keras.Model(self.network.inputs[0], outputs)

    def activations_and_gradients(
        self, layers: Sequence[str], score: Callable[[tf.Tensor], tf.Tensor] = tf.identity
    ) -> Callable[[tf.Tensor], tuple[Tensors, Tensors, tf.Tensor]]:
        """Make the function from a preprocessed batch to activations, gradients and log-odds.

        Activations and gradients, ``(n, h, w, C)``, come by layer; `layers` may contain `INPUT`.
        `score` maps the log-odds of tumor, ``(n,)``, to what is differentiated.
        """
        network = self.submodel([name for name in layers if name != INPUT], logit=True)

        def forward_and_backward(batch: tf.Tensor) -> tuple[Tensors, Tensors, tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(batch)  # records the path though no weight is watched
                outputs = network(batch, training=False)
                value = score(outputs["logit"])
            activations = {name: batch if name == INPUT else outputs[name] for name in layers}
            return activations, tape.gradient(value, activations), outputs["logit"]

        return forward_and_backward

    def map(
        self,
        build: Callable[..., Callable[[tf.Tensor], object]],
        *arguments: Hashable,
        images: np.ndarray,
        batch_size: int = 32,
        description: str | None = None,
        check: bool = True,
    ) -> Iterator:
        """Yield a function of preprocessed images, batch by batch, under a progress bar.

        ``build(model, *arguments)`` returns a function from a tensor ``(n, H, W, 3)`` to tensors in
        any structure. It is compiled once per `build`, `arguments` and size of the images, and
        follows changes of weights. The images, ``(N, H, W, 3)`` uint8, may be memory-mapped; see
        `check_images`, which is left out with `check` False.
        """
        if check:
            self.check_images(images)
        key = (build, arguments, tuple(images.shape[1:3]), str(images.dtype))
        if key not in self._compiled:
            of_preprocessed = build(self, *arguments)
            batch = tf.TensorSpec((None, *images.shape[1:]), images.dtype)
            function = tf.function(
                lambda raw: of_preprocessed(self.preprocess(tf.cast(raw, tf.float32))),
                autograph=False,
            )
            self._compiled[key] = function.get_concrete_function(batch)
        starts = range(0, len(images), batch_size)
        quiet = description is None or len(starts) < 2
        for start in progress_bar(starts, desc=description, unit="batch", disable=quiet):
            yield self._compiled[key](tf.constant(images[start : start + batch_size]))

    def log_odds(self, images: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """Compute the log-odds of tumor, ``(N,)``, of RGB patches ``(N, H, W, 3)``, uint8."""
        logits = self.map(_logit, images=images, batch_size=batch_size, description="predict")
        return np.concatenate(list(logits))

    def predict(self, images: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """Compute the probability of tumor, ``(N,)``, of RGB patches ``(N, H, W, 3)``, uint8."""
        return tf.sigmoid(self.log_odds(images, batch_size=batch_size)).numpy()

    def check_spatial(self, layers: Sequence[str]) -> None:
        """Raise ValueError unless these layers exist and have activations ``(N, H, W, C)``."""
        for name in layers:
            shape = self.layer(name).output.shape
            if len(shape) != 4:
                raise ValueError(f"{name} has the shape {shape}; expected spatial extent.")

    def check_images(self, images: np.ndarray) -> None:
        """Raise ValueError unless `images` is what this network takes; read as few as possible."""
        check_rgb(images)
        size, fixed = tuple(images.shape[1:3]), self.network.input_shape[1:3]
        needed = f"at least {self.backbone.minimum_size}" if None in fixed else str(fixed)
        if min(size) < self.backbone.minimum_size or (None not in fixed and size != fixed):
            title = self.backbone.title
            raise ValueError(f"images have {size} pixels, but this {title} needs {needed}.")
        chunks = (images[start : start + 256] for start in range(0, len(images), 256))
        if not any(chunk.max() > 1 for chunk in chunks):
            raise ValueError("no image value is over 1; expected uint8 RGB patches, 0 to 255.")


def activations(model: Model, layer: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Make the function from a preprocessed batch to a layer's activations, for `Model.map`."""
    network = model.submodel([layer])
    return lambda batch: network(batch, training=False)[layer]


def _logit(model: Model) -> Callable[[tf.Tensor], tf.Tensor]:
    network = model.submodel([], logit=True)
    return lambda batch: network(batch, training=False)["logit"]


def layer_features(
    model: Model, images: np.ndarray, *, layers: Sequence[str] | None = None, batch_size: int = 32
) -> Features:
    """Average every channel of every layer over the patch, in one forward pass.

    Parameters
    ----------
    model : Model
    images : array, (N, H, W, 3), uint8, which may be memory-mapped
    layers : sequence of str, optional
        By default all analysis layers of the backbone.
    batch_size : int

    Returns
    -------
    dict of array, (N, C), float32, by layer
    """
    return _by_batch(pooled, model, images, layers, batch_size=batch_size)


def layer_features_and_gradients(
    model: Model, images: np.ndarray, *, layers: Sequence[str] | None = None, batch_size: int = 32
) -> tuple[Features, Features]:
    """Compute `layer_features`, and the logit's derivative with respect to each, in one pass.

    Parameters
    ----------
    model, images, layers, batch_size
        As in `layer_features`; the model has a head.

    Returns
    -------
    features, gradients : dict of str to array, (N, C), float32
        A gradient is the derivative of the log-odds of tumor with respect to adding to a channel
        everywhere: the sum over positions.
    """
    return _by_batch(_features_and_gradients, model, images, layers, batch_size=batch_size)


def _by_batch(build, model, images, layers, *, batch_size=32):
    """Concatenate each array that the function made by `build` computes, here or by workers."""
    layers = list(layers or model.backbone.layers)
    model.check_spatial(layers)
    model.check_images(images)
    size = CHUNK * batch_size  # whole batches, so that chunks change nothing

    def chunk(start: int) -> tuple[str, tuple]:
        rows = slice(start, start + size)
        lazy = isinstance(images, LazyImages)
        return str(start), (images.select(rows) if lazy else images[rows],)

    starts = range(0, len(images), size)
    shared = (model, build, layers, batch_size)
    bar = {"desc": model.title, "total": len(starts), "disable": len(starts) < 2}
    chunks = map_chunks(of_chunk, map(chunk, starts), shared=shared, **bar)
    return _concatenate(arrays for _, arrays in chunks)


def of_chunk(model, build, layers, batch_size, images):
    """Concatenate what a function that `build` makes returns of batches of unchecked images."""
    options = {"images": images, "batch_size": batch_size, "check": False}
    return _concatenate(model.map(build, *layers, **options))


def _concatenate(batches):
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *batches)


def pooled(model, *layers):
    """Make the function from a preprocessed batch to the mean of each channel, by layer."""
    network = model.submodel(layers)
    return lambda batch: tf.nest.map_structure(_mean, network(batch, training=False))


def _features_and_gradients(model, *layers):
    forward_and_backward = model.activations_and_gradients(layers)

    def pool(batch):
        activations, gradients, _ = forward_and_backward(batch)
        return tf.nest.map_structure(_mean, activations), tf.nest.map_structure(_sum, gradients)

    return pool
