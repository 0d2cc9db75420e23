"""Any Keras network as a Lucid model."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from utils.lucid_bridge.tensorflow1 import import_lucid, tf1
from utils.networks.backbones import nearest_names
from utils.networks.checkpoints import flatten


def to_lucid(model: Any, *, image_value_range: tuple = (-1, 1)):
    """Freeze a copy of a network, as it computes in inference, into a Lucid model.

    Parameters
    ----------
    model : keras.Model or utils.networks.Model
        Functional or sequential network of one RGB image, channels last.
    image_value_range : (low, high)
        Values of black and white that a keras.Model expects: numbers, or arrays by channel.

    Returns
    -------
    lucid.modelzoo.vision_base.Model
        Model for all of ``lucid.optvis``. Its layers carry Keras' names; those of an InceptionV3
        carry those of Lucid's model zoo, Keras' and the paper's short ones (``mixed5b``) too.
    """
    network, backbone = getattr(model, "network", model), getattr(model, "backbone", None)
    graph_def, layers = _freeze(network)
    name, (height, width), aliases = network.name, network.input_shape[1:3], {}
    if backbone is not None:
        name = f"{Path(model.weights).name}_{backbone.name}"
        height, width = height or backbone.default_size, width or backbone.default_size
        low, high = model.preprocess(np.float32([[0, 0, 0], [255, 255, 255]]))
        # Plain numbers where they suffice, as users of Lucid expect.
        plain = np.ptp(low) == np.ptp(high) == 0
        image_value_range = (float(low[0]), float(high[0])) if plain else (low, high)
        aliases = {short: model.layer(short).name for short in backbone.layers}
    shape = [height, width, 3]
    lucid_model = _keras_model_class()(name, graph_def, layers, aliases, image_value_range, shape)
    if backbone is not None and model.sha256:
        lucid_model.identity = model.identity
    return lucid_model


def _check(network: keras.Model) -> None:
    for layer in network.layers:
        if type(layer).__module__.partition(".")[0] != "keras":
            problem = f"is of the custom class {type(layer).__name__}"
        elif getattr(layer, "data_format", None) == "channels_first":
            problem = "is channels first"
        elif isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
            problem = f"has {layer.groups} groups, and no gradient once frozen"
        else:
            continue
        raise ValueError(
            f"layer {layer.name!r} {problem}; expected layers of keras.layers, channels last and "
            "without groups: express it by those, or cut the network before it."
        )
    shape = network.inputs[0].shape
    if len(shape) != 4 or shape[-1] != 3:
        raise ValueError(
            f"the input of the network has the shape {shape}; expected an RGB image, (None, "
            "height, width, 3): wrap the network in a keras.Model with this input."
        )


def _zoo_names(operations: Mapping[str, keras.Operation]) -> dict[str, str]:
    """Map Keras' layer names to those of Lucid's model zoo, if the network is an InceptionV3.

    The stem's activations are the first five: their names count on from earlier networks.
    """
    stem = [n for n, op in operations.items() if isinstance(op, keras.layers.Activation)][:5]
    keras_names = [*stem, *(f"mixed{i}" for i in range(11)), "predictions"]
    zoo = import_lucid().modelzoo.vision_models.InceptionV3_slim.layers
    layers = {k: layer for k, layer in zip(keras_names, zoo, strict=False) if k in operations}
    is_inception = "mixed0" in layers and all(
        operations[name].output.shape[-1] == layer.depth or name == "predictions"
        for name, layer in layers.items()  # the zoo's predictions have one class more
    )
    return {name: layer.name for name, layer in layers.items()} if is_inception else {}


def _freeze(network: keras.Model) -> tuple[tf1.GraphDef, dict[str, tuple[str, tf.Tensor]]]:
    """Make a constant graph, and map Keras' layer names to Lucid's name and the tensor."""
    flat = flatten(network)
    _check(flat)
    outputs = {
        operation.name: operation.output
        for operation in flat.operations
        # Without a number of channels, as after Flatten of an image of any size, none is shown.
        if isinstance(operation.output, keras.KerasTensor)
        and not isinstance(operation, keras.layers.InputLayer)
        and len(operation.output.shape) > 1
        and operation.output.shape[-1]
    }
    graph = keras.Model(flat.inputs[0], outputs)
    operations = {op.name: op for op in graph.operations if op.name in outputs}
    zoo_names, layers = _zoo_names(operations), {}

    def forward(images):
        with tf.name_scope("keras"):  # leaves the layers' names to their outputs
            computed = graph(images, training=False)
        for name in operations:
            # In single precision, whatever the policy: the constants in Lucid's objectives are.
            output = tf.cast(computed[name], tf.float32)
            lucid_name = zoo_names.get(name, name)
            layers[name] = lucid_name, tf.identity(output, name=lucid_name)
        return [tensor for _, tensor in layers.values()]

    # Height and width stay open: Lucid's transformations change them at every step.
    spec = tf.TensorSpec([None, None, None, 3], tf.float32, name="input")
    traced = tf.function(forward, input_signature=[spec], autograph=False).get_concrete_function()
    return convert_variables_to_constants_v2(traced).graph.as_graph_def(), layers


@functools.cache
def _keras_model_class() -> type:
    """Define the Lucid model of a Keras network, whose base class exists once Lucid is imported."""
    vision_base = import_lucid().modelzoo.vision_base

    class KerasModel(vision_base.Model):
        """A Keras network as a Lucid model, see `to_lucid`."""

        name = None  # the network's, where Lucid's own models have the name of their class
        input_name = "input"

        def __init__(self, name, graph_def, layers, aliases, image_value_range, image_shape):
            super().__init__()
            self.name, self.graph_def = name, graph_def
            self.image_value_range, self.image_shape = image_value_range, image_shape
            self.layers, self._by_name = [], {}
            in_zoo = any(name != lucid_name for name, (lucid_name, _) in layers.items())
            for keras_name, (lucid_name, tensor) in layers.items():
                tags = {2: ["dense"], 4: ["conv"]}.get(tensor.shape.rank, [])
                layer = vision_base.Layer(self, lucid_name, tensor.shape[-1], tags)
                layer.node = tensor.op.name
                self._by_name[keras_name] = self._by_name[lucid_name] = layer
                if lucid_name != keras_name:  # .../Conv2d_4a_3x3/Relu is conv2d_4a in the paper
                    paper_name = lucid_name.split("/")[-2].lower().replace("mixed_", "mixed")
                    self._by_name[re.sub(r"_\dx\d$", "", paper_name)] = layer
                # The model zoo lists the layers of interest, not each of 300 operations.
                if not in_zoo or lucid_name != keras_name or "dense" in tags:
                    self.layers.append(layer)
            self._by_name |= {alias: self._by_name[name] for alias, name in aliases.items()}

        def load_graphdef(self):
            """Do nothing, since the graph exists from the start."""

        def get_layer(self, name):
            """Return a layer by any of its names."""
            if name not in self._by_name:
                nearest = nearest_names(name, self._by_name) or list(self._by_name)
                raise ValueError(
                    f"{self.name} has no layer {name!r}; the nearest are {nearest[:5]}: take one "
                    "of [layer.name for layer in model.layers]."
                )
            return self._by_name[name]

        def node_name(self, name):
            """Return what the graph calls a layer; "input" and "labels" are Lucid's own."""
            return name if name in ("input", "labels") else self.get_layer(name).node

    return KerasModel
