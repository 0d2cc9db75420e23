"""A network with its weights, architecture and provenance."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from utils.networks.backbones import Backbone
from utils.networks.checkpoints import set_layer_weights
from utils.networks.heads import tumor_logit
from utils.patches.images import check_rgb
from utils.progress import progress_bar

INPUT = "input"  # in place of a layer's name: the preprocessed image itself
_RANGE_CHUNK = 256  # images read at once to see whether they are scaled to [0, 1]

Tensors = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Model:
    """A network with its weights, architecture and provenance.

    Attributes
    ----------
    network : keras.Model
        One flat graph from preprocessed images ``(N, H, W, 3)`` to the last feature map
        (``random``, ``shuffled``, ``pretrained``) or to the head's output (``finetuned``).
    backbone : Backbone
        The architecture.
    weights : str
        ``random``, ``shuffled``, ``pretrained``, ``finetuned`` or the path that was given.
    origin : str
        Where the weights come from, for provenance.
    sha256 : str
        Hash of the weights' file, or of the values of random or shuffled weights.
    preprocesses : bool
        Whether the network maps [0, 255] to its range by itself.
    """

    network: keras.Model
    backbone: Backbone
    weights: str
    origin: str
    sha256: str
    preprocesses: bool = False

    @property
    def identity(self) -> tuple:
        """Key that identifies this network among all others."""
        if not self.sha256:
            raise TypeError(
                f"the weights of {self.title} have no hash, so this network cannot be identified: "
                "load it by load_model."
            )
        return self.backbone.name, self.weights, self.sha256, self.preprocesses

    @property
    def title(self) -> str:
        """Name for figures: "finetuned InceptionV3", or "InceptionV3 (file.h5)" for a path."""
        path = Path(self.weights)
        if path.suffix:
            return f"{self.backbone.title} ({path.name})"
        return f"{self.weights} {self.backbone.title}"

    def copy(self) -> "Model":
        """Return a model whose weights can be changed without changing this one's."""
        network = keras.models.clone_model(self.network)
        for layer, original in zip(network.layers, self.network.layers, strict=True):
            set_layer_weights(layer, original.get_weights())
        return replace(self, network=network)

    def layer(self, name: str) -> keras.Layer:
        """Return the Keras layer of an analysis layer (or of Keras' own name)."""
        return self.backbone.layer(self.network, name)

    def preprocess(self, images):
        """Map RGB images in [0, 255] to what `network` takes, as float32."""
        if self.preprocesses:
            return images.astype(np.float32) if isinstance(images, np.ndarray) else images
        return self.backbone.preprocess(images)

    @cached_property
    def logit(self):
        """Symbolic log-odds of tumor, ``(N,)``, whatever the head: see `tumor_logit`."""
        return tumor_logit(self.network)

    def submodel(self, layers: Sequence[str], *, logit: bool = False) -> keras.Model:
        """Cut the network: from preprocessed images to a dict of activations by layer name.

        It shares its weights with `network`. The log-odds of tumor have the key ``"logit"``.
        """
        if isinstance(layers, str):
            raise ValueError(f"layers is the string {layers!r}; expected a list of names.")
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

    @cached_property
    def _compiled(self) -> dict[Hashable, Callable]:
        return {}

    def map(
        self,
        build: Callable[..., Callable[[tf.Tensor], object]],
        *arguments: Hashable,
        images: np.ndarray,
        batch_size: int = 32,
        description: str | None = None,
    ) -> Iterator:
        """Yield a function of preprocessed images, batch by batch, under a progress bar.

        ``build(model, *arguments)`` returns a function from a tensor ``(n, H, W, 3)`` to tensors in
        any structure. It is compiled once per `build`, `arguments` and size of the images, and
        follows changes of weights. The images, ``(N, H, W, 3)`` uint8, may be memory-mapped.
        """
        self.check_images(images)
        key = (build, arguments, tuple(images.shape[1:3]))
        if key not in self._compiled:
            batch = tf.TensorSpec((None, *images.shape[1:]), tf.float32)
            function = tf.function(build(self, *arguments), autograph=False)
            self._compiled[key] = function.get_concrete_function(batch)
        starts = range(0, len(images), batch_size)
        quiet = description is None or len(starts) < 2
        for start in progress_bar(starts, desc=description, unit="batch", disable=quiet):
            batch = tf.constant(self.preprocess(images[start : start + batch_size]))
            yield self._compiled[key](batch)

    def predict(self, images: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """Compute the probability of tumor, ``(N,)``, of RGB patches ``(N, H, W, 3)``, uint8."""
        logits = self.map(_logit, images=images, batch_size=batch_size, description="predict")
        return keras.ops.convert_to_numpy(keras.ops.sigmoid(np.concatenate(list(logits))))

    def check_spatial(self, layers: Sequence[str]) -> None:
        """Raise ValueError unless these layers exist and have activations ``(N, H, W, C)``."""
        for name in layers:
            shape = self.layer(name).output.shape
            if len(shape) != 4:
                raise ValueError(f"{name} has the shape {shape}; expected spatial extent.")

    def check_images(self, images: np.ndarray) -> None:
        """Raise ValueError unless `images` is what this network takes; read as few as possible."""
        check_rgb(images)
        height, width = images.shape[1:3]
        size = f"images are {height} x {width} pixels, but"
        fixed, smallest = self.network.input_shape[1:3], self.backbone.minimum_size
        if None not in fixed and (height, width) != fixed:
            raise ValueError(f"{size} this network was built for {fixed[0]} x {fixed[1]}.")
        if min(height, width) < smallest:
            raise ValueError(f"{size} {self.backbone.title} needs at least {smallest}.")
        chunks = (images[i : i + _RANGE_CHUNK] for i in range(0, len(images), _RANGE_CHUNK))
        if not any(np.max(chunk) > 1 for chunk in chunks):
            raise ValueError("no image value is over 1; expected uint8 RGB patches, 0 to 255.")


def _logit(model: Model) -> Callable[[tf.Tensor], tf.Tensor]:
    network = model.submodel([], logit=True)
    return lambda batch: network(batch, training=False)["logit"]
