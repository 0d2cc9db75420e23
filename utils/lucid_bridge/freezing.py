"""A Keras network as a constant graph with Lucid's names, and what is left out of it."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.util import deprecation

from utils.lucid_bridge.tensorflow1 import import_lucid, tf1
from utils.networks.checkpoints import flatten, tumor_logit

LOG_ODDS = "log_odds"


def _check(network: keras.Model) -> None:
    for layer in network.layers:
        form = getattr(layer, "data_format", None)
        groups = layer.groups if isinstance(layer, keras.layers.Conv2D) else 1
        custom = type(layer).__module__.partition(".")[0] != "keras"
        if custom or form == "channels_first" or groups > 1:  # no gradient once frozen
            raise ValueError(
                f"layer {layer.name!r} is a {type(layer).__name__}, {form}, {groups} groups; "
                "expected a layer of keras.layers, channels last, without groups."
            )


def _zoo_names(operations: Mapping[str, keras.Operation]) -> dict[str, str]:
    """Map Keras' layer names to those of Lucid's model zoo, if the network is an InceptionV3."""
    # The first five activations, since Keras' numbers count on from earlier networks.
    stem = [n for n, op in operations.items() if isinstance(op, keras.layers.Activation)][:5]
    keras_names = [*stem, *(f"mixed{i}" for i in range(11)), "predictions"]
    zoo = import_lucid().modelzoo.vision_models.InceptionV3_slim.layers
    layers = {k: layer for k, layer in zip(keras_names, zoo, strict=False) if k in operations}
    is_inception = "mixed0" in layers and all(
        operations[name].output.shape[-1] == layer.depth or name == "predictions"
        for name, layer in layers.items()  # the zoo's predictions have one class more
    )
    return {name: layer.name for name, layer in layers.items()} if is_inception else {}


def freeze(
    network: keras.Model, *, log_odds: bool = False
) -> tuple[tf1.GraphDef, dict[str, tuple[str, tf.Tensor]]]:
    """Make a constant graph, and map Keras' layer names to Lucid's name and the tensor.

    With `log_odds`, a last layer of this name has the log-odds of normal and of tumor, ``(N, 2)``.
    """
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
    if log_odds:
        logit = tumor_logit(flat)
        outputs[LOG_ODDS] = keras.ops.stack([-logit, logit], axis=-1)
    graph = keras.Model(flat.inputs[0], outputs)
    operations = {op.name: op for op in graph.operations if op.name in outputs}
    zoo_names, layers = _zoo_names(operations), {}

    def forward(images):
        with tf.name_scope("keras"):  # leaves the layers' names to their outputs
            computed = graph(images, training=False)
        for name in dict.fromkeys([*operations, *outputs]):
            # In single precision, whatever the policy: the constants in Lucid's objectives are.
            output = tf.cast(computed[name], tf.float32)
            lucid_name = zoo_names.get(name, name)
            layers[name] = lucid_name, tf.identity(output, name=lucid_name)
        return [tensor for _, tensor in layers.values()]

    # Height and width stay open: Lucid's transformations change them at every step.
    spec = tf.TensorSpec([None, None, None, 3], tf.float32, name="input")
    traced = tf.function(forward, input_signature=[spec], autograph=False).get_concrete_function()
    return convert_variables_to_constants_v2(traced).graph.as_graph_def(), layers


def cut(graph: tf1.GraphDef, nodes: Sequence[str]) -> tf1.GraphDef:
    """Leave out what some nodes do not need."""
    with deprecation.silence():
        return tf1.graph_util.extract_sub_graph(graph, list(nodes))
