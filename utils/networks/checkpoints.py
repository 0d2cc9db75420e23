"""Classifiers as flat graphs: heads, and checkpoints of Keras 2 and 3 with nested backbones."""

import itertools
import tempfile
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np

from utils.networks.backbones import Backbone, first_line

# Class names, or how they start: layers without effect in inference, and layers that may precede a
# backbone's first convolution without changing the range of the values.
_TRAINING_ONLY = ("Random", "Dropout", "SpatialDropout", "GaussianNoise", "GaussianDropout")
_TRANSPARENT = ("InputLayer", "ZeroPadding2D", "Identity", "Resizing", "CenterCrop", "GetItem")


def add_head(network: keras.Model, units: int = 1) -> keras.Model:
    """Add global average pooling and a sigmoid unit, or several softmax units; share the layers."""
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(network.outputs[0])
    activation = "sigmoid" if units == 1 else "softmax"
    head = keras.layers.Dense(units, activation=activation, name="tumor")
    return keras.Model(network.inputs[0], head(pooled))


def tumor_logit(network: keras.Model):
    """Find the log-odds of tumor in a classifier's graph, before the saturating activation.

    One unit ``z`` is read as a sigmoid's (also under a softmax, which is constant for one unit);
    of two units, normal and tumor, the log-odds are ``z[1] - z[0]``, for a softmax exactly. Heads
    without activation are read as logits.
    """
    output = network.outputs[0]
    if len(output.shape) != 2 or output.shape[-1] not in (1, 2):
        raise ValueError(
            f"the network's output has the shape {tuple(output.shape)}; expected a head of one or "
            "two units. Networks that are not finetuned have none: finetune first, or give a path. "
            "From more classes, save a network with one output, one class against the rest."
        )
    last = network.operations[-1]
    while type(last).__name__ in ("Activation", "Softmax", "Sigmoid", "Identity", "Dropout"):
        output = last.input
        last = next(op for op in network.operations if op.output is output)
    dense = isinstance(last, keras.layers.Dense)
    activation = keras.activations.serialize(last.activation) if dense else None
    if activation not in ("sigmoid", "softmax", "linear"):
        raise ValueError(
            f"the network ends in {type(last).__name__} {last.name!r}; expected a Dense layer with "
            "a sigmoid, a softmax or no activation."
        )
    if activation != "linear":
        output = keras.ops.matmul(last.input, last.kernel)
        output = output + last.bias if last.use_bias else output
    return output[:, 0] if output.shape[-1] == 1 else output[:, 1] - output[:, 0]


def flatten(network: keras.Model) -> keras.Model:
    """Copy a model with nested models, as transfer learning leaves them, into one flat graph.

    Layers that act in training only are left out; a name that occurs twice is put behind that of
    its model.
    """
    copies: dict[int, tuple[keras.Operation, keras.Operation]] = {}
    flat = _replay(network, None, copies)[0]
    for original, copy in copies.values():
        if getattr(original, "weights", None):
            set_layer_weights(copy, original.get_weights())
    return flat


def set_layer_weights(layer: keras.Layer, weights: list[np.ndarray]) -> None:
    """Set the weights of a layer, and what it has computed from them."""
    layer.set_weights(weights)
    if hasattr(layer, "finalize_state"):  # a Normalization, which keeps mean and variance apart
        layer.finalize_state()


def _replay(network: keras.Model, image: keras.KerasTensor | None, copies: dict):
    """Copy a network on a tensor or a new input; return it and what its last layer computes."""
    inputs, outputs = (getattr(network, name, None) or [] for name in ("inputs", "outputs"))
    if len(inputs) != 1 or (image is not None and len(outputs) != 1):
        raise ValueError(
            f"{getattr(network, 'name', network)} is a network with {len(inputs)} inputs and "
            f"{len(outputs)} outputs; "
            "expected a functional or Sequential model of one image, nested ones with one output."
        )
    output = image

    def clone(operation: keras.Operation) -> keras.Operation:
        if isinstance(operation, keras.Model):
            return operation  # `call` enters it
        if id(operation) not in copies:
            config = operation.get_config()
            while any(copy.name == config["name"] for _, copy in copies.values()):
                config["name"] = f"{network.name}_{config['name']}"
            copies[id(operation)] = operation, operation.__class__.from_config(config)
        return copies[id(operation)][1]

    def call(operation: keras.Operation, *args, **kwargs):
        nonlocal output
        if isinstance(operation, keras.Model):
            output = _replay(operation, args[0], copies)[1]
        elif type(operation).__name__.startswith(_TRAINING_ONLY):
            output = args[0]
        else:
            output = operation(*args, **kwargs)
        return output

    # A model of the same input and outputs makes a graph of a Sequential, too.
    functional = keras.Model(inputs[0], outputs if len(outputs) > 1 else outputs[0])
    copy = keras.models.clone_model(
        functional, input_tensors=image, clone_function=clone, call_function=call
    )
    return copy, output  # the graph is called in order, and its last call makes its only output


def read_checkpoint(path: Path, backbone: Backbone) -> tuple[keras.Model, bool]:
    """Read a classifier of this backbone as one flat graph, and whether it preprocesses."""
    if path.suffix == ".keras" or _is_whole_model(path):
        try:
            network = flatten(keras.models.load_model(path, compile=False))
            if _channels(network, backbone) != _channels(backbone.build(), backbone):
                raise ValueError("its layers have other numbers of channels")
        except (TypeError, KeyError, AttributeError, OSError, ValueError) as error:
            reason = f"Keras model of {backbone.title} ({first_line(error)})"
            raise ValueError(f"{path} cannot be read as a {reason}: give its weights.") from error
    else:
        network = add_head(backbone.build(), _head_units(path, backbone))
        load_weights_file(network, path, backbone)
    tumor_logit(network)
    names = [type(operation).__name__ for operation in network.operations]
    first = list(itertools.takewhile(lambda name: not name.endswith("Conv2D"), names))
    preprocesses = any(not name.startswith(_TRANSPARENT) for name in first)
    if backbone.bgr and not preprocesses and "GetItem" not in first:
        image = keras.Input(network.input_shape[1:])
        network = flatten(keras.Model(image, network(image[..., ::-1])))
    return network, preprocesses


def _channels(network: keras.Model, backbone: Backbone) -> dict[str, int]:
    return {name: backbone.layer(network, name).output.shape[-1] for name in backbone.layers}


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
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an HDF5 file; expected .keras, .weights.h5 or .h5.")
    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            return False
        nested = len(file["model_weights"].attrs["layer_names"]) < 20
        version = file.attrs.get("keras_version", "3")
    version = version.decode() if isinstance(version, bytes) else version
    return nested or not version.startswith(("1", "2"))


def _head_units(path: Path, backbone: Backbone) -> int:
    """Read the width of the only matrix in a weights file, which is the head's kernel."""
    items = []
    with h5py.File(path) as file:
        file.get("model_weights", file).visititems(lambda _, item: items.append(item))
        matrices = [item.shape for item in items if len(getattr(item, "shape", ())) == 2]
    if len(matrices) != 1:
        raise ValueError(
            f"{path} holds {len(matrices)} dense layers; expected the weights of a "
            f"{backbone.title} with one dense head on pooled features. Give a whole model instead."
        )
    return matrices[0][1]
