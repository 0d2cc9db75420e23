"""Checkpoints of any origin: Keras 2 and 3, weights and whole models, nested backbones."""

import tempfile
import warnings
from pathlib import Path

import h5py
import keras

from utils.networks.backbones import Backbone
from utils.networks.heads import add_head, tumor_logit

# Class names, or how they start: layers without effect in inference, and layers that may precede a
# backbone's first convolution without changing the range of the values.
_TRAINING_ONLY = ("Random", "Dropout", "SpatialDropout", "GaussianNoise", "GaussianDropout")
_TRANSPARENT = ("InputLayer", "ZeroPadding2D", "Identity", "Resizing", "CenterCrop")


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


def read_checkpoint(path: Path, backbone: Backbone) -> tuple[keras.Model, bool]:
    """Read a classifier of this backbone as one flat graph, and whether it preprocesses."""
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ValueError(f"{path} ends in {path.suffix!r}; expected .keras, .weights.h5 or .h5.")
    if path.suffix == ".keras" or _is_whole_model(path):
        try:
            network = unfold(keras.models.load_model(path, compile=False))
        except (TypeError, KeyError, AttributeError, OSError) as error:
            raise ValueError(
                f"{path} cannot be read as a Keras model ({first_line(error)}): save its weights "
                "alone and give those."
            ) from error
    else:
        network = add_head(backbone.build(), _head_units(path, backbone))
        load_weights_file(network, path, backbone)
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


def load_weights_file(network: keras.Model, path: Path, backbone: Backbone) -> None:
    """Load a weights file, in which the backbone may be nested as one layer."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Keras only warns of layers that a file does not have.
        warnings.filterwarnings("error", "Skipping nested container")
        try:
            network.load_weights(_flat_copy(Path(path), Path(folder)))
        except (ValueError, KeyError, OSError, UserWarning) as error:
            raise ValueError(
                f"{path} does not hold the weights of this {backbone.title} "
                f"({first_line(error)}): give a Keras weights file of that network."
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
        raise ValueError(f"{path} is not an HDF5 file: {first_line(error)}.") from error


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


def first_line(error: BaseException) -> str:
    """Return what an error says first, for use in another message."""
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]
