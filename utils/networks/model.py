"""A network with its weights, architecture and provenance."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf

from utils.networks.backbones import Backbone
from utils.networks.heads import tumor_logit
from utils.progress import progress_bar


@dataclass(frozen=True)
class Model:
    """A network with weights and the knowledge of what it is.

    Attributes
    ----------
    network : keras.Model
        One flat graph from preprocessed images ``(N, H, W, 3)`` to the last feature map
        (``random``, ``pretrained``) or to the head's output (``finetuned``).
    backbone : Backbone
        The architecture.
    weights : str
        ``random``, ``pretrained``, ``finetuned`` or the path that was given.
    origin : str
        Where the weights come from, for provenance.
    sha256 : str
        Hash of the weights' file, or of the values of random weights.
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
        """What tells this network from others, see `utils.results.steps.identity`.

        Raises
        ------
        TypeError
            If the weights have no hash.
        """
        if not self.sha256:
            raise TypeError(
                f"the weights of {self.title} have no hash, so that they cannot be told from "
                "others': load the network by load_model."
            )
        return self.backbone.name, self.weights, self.sha256, self.preprocesses

    @property
    def title(self) -> str:
        """Name for figures, such as "finetuned InceptionV3"."""
        return f"{self.weights} {self.backbone.title}"

    def layer(self, name: str) -> keras.Layer:
        """Return the Keras layer of an analysis layer (or of Keras' own name)."""
        return self.backbone.layer(self.network, name)

    def preprocess(self, images):
        """Map RGB images in [0, 255] to what `network` takes, as float32."""
        if self.preprocesses:
            return images.astype(np.float32) if isinstance(images, np.ndarray) else images
        return self.backbone.preprocess(images)

    @cached_property
    def _compiled(self) -> dict[Hashable, Callable]:
        return {}

    @cached_property
    def logit(self):
        """Symbolic log-odds of tumor, ``(N,)``, whatever the head: see `tumor_logit`."""
        return tumor_logit(self.network)

    def submodel(self, layers: Sequence[str], *, logit: bool = False) -> keras.Model:
        """Cut the network: preprocessed images to a dict of activations, by layer name.

        Parameters
        ----------
        layers : sequence of str
            Names as in `layer`.
        logit : bool
            Add the log-odds of tumor under the key ``"logit"``.
        """
        if isinstance(layers, str):
            raise ValueError(f"layers is the string {layers!r}; expected a list of names.")
        outputs = {name: self.layer(name).output for name in layers}
        if logit:
            outputs["logit"] = self.logit
        return keras.Model(self.network.inputs[0], outputs)

    def batches(
        self, images: np.ndarray, *, batch_size: int = 32, description: str | None = None
    ) -> Iterator[tf.Tensor]:
        """Preprocess images batch by batch, under a progress bar.

        Parameters
        ----------
        images : array, (N, H, W, 3), uint8
            RGB patches.

        Raises
        ------
        ValueError
            If the images have another type, shape or range, are too small, or there are none.
        """
        self.check_images(images)
        starts = range(0, len(images), batch_size)
        quiet = description is None or len(starts) < 2
        for start in progress_bar(starts, desc=description, unit="batch", disable=quiet):
            yield tf.constant(self.preprocess(images[start : start + batch_size]))

    def run(
        self,
        key: Hashable,
        build: Callable[[], Callable[[tf.Tensor], object]],
        images: np.ndarray,
        *,
        batch_size: int = 32,
        description: str | None = None,
    ) -> Iterator:
        """Compute a function of preprocessed images, batch by batch.

        Parameters
        ----------
        key : hashable
            What the function is and all that it depends on. It is built and compiled only once a
            key and size of the images, for batches of any length; it follows changes of weights.
        build : callable
            Makes the function, which maps a tensor ``(n, H, W, 3)`` to tensors in any structure.
        images, batch_size, description
            As in `batches`.

        Yields
        ------
        object
            The function of each batch.
        """
        self.check_images(images)
        key = (key, images.shape[1:3])
        if key not in self._compiled:
            batch = tf.TensorSpec((None, *images.shape[1:]), tf.float32)
            function = tf.function(build(), autograph=False)
            self._compiled[key] = function.get_concrete_function(batch)
        compiled = self._compiled[key]
        for batch in self.batches(images, batch_size=batch_size, description=description):
            yield compiled(batch)

    def predict(self, images: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """Return the probability of tumor, ``(N,)`` float32 in [0, 1]."""

        def build():
            network = self.submodel([], logit=True)
            return lambda batch: network(batch, training=False)["logit"]

        logits = self.run("logit", build, images, batch_size=batch_size, description="predict")
        logit = np.concatenate([part.numpy() for part in logits])
        return keras.ops.convert_to_numpy(keras.ops.sigmoid(logit))

    def check_spatial(self, layers: Sequence[str]) -> None:
        """Raise ValueError unless these layers exist and have activations ``(N, H, W, C)``."""
        for name in layers:
            shape = self.layer(name).output.shape
            if len(shape) != 4:
                raise ValueError(
                    f"{name} has the shape {shape}; expected a layer with spatial extent."
                )

    def check_images(self, images: np.ndarray) -> None:
        """Raise ValueError unless `images` is what this network takes."""
        expected = "expected uint8 RGB patches of shape (N, H, W, 3) with values 0 to 255"
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            found = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
            raise ValueError(f"images are {found}; {expected}: scale and convert them first.")
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images have the shape {images.shape}; {expected}.")
        if len(images) == 0:
            raise ValueError(f"the set of images is empty; {expected}.")
        fixed = self.network.input_shape[1:3]
        if None not in fixed and images.shape[1:3] != fixed:
            raise ValueError(
                f"images are {images.shape[1]} x {images.shape[2]} pixels, but this network was "
                f"built for {fixed[0]} x {fixed[1]}: read the patches at that size."
            )
        if min(images.shape[1:3]) < self.backbone.minimum_size:
            raise ValueError(
                f"images are {images.shape[1]} x {images.shape[2]} pixels, but "
                f"{self.backbone.title} needs at least {self.backbone.minimum_size}."
            )
        if images.max() <= 1:
            raise ValueError(f"no value of the images is over {images.max()}; {expected}.")
