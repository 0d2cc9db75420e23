"""A copy of the network, cut at the measured layers, with batch normalisation folded for speed."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from utils.networks import Model
from utils.networks.checkpoints import set_layer_weights

# Layers that pass activations on channel by channel, so that a ReLU before them may be the last.
_PASSING = ("Concatenate", "Pooling2D", "Padding2D", "Dropout", "Identity", "Add", "Cropping2D")


def prepare_network(
    model: Model, layers: Sequence[str], *, last_relus: str = "redirected", dtype: str = "float32"
) -> keras.Model:
    """Copy a model up to the deepest of some layers or ``"logit"``, to outputs by name.

    `last_relus` decides about the ReLUs between the last convolutions and the outputs. Where they
    block all of an image's gradient, ``redirected`` ones pass what would raise their input, so that
    channels inactive on noise can be activated (Lucid's idea). ``linear`` leaves them out
    (lucid4keras' ``prepare_model``), ``kept`` keeps them. ``bfloat16``, not ``float32``, pays only
    where the processor has instructions for it.
    """
    relus = {"redirected": _redirected_relu, "linear": keras.activations.linear, "kept": None}
    if last_relus not in relus:
        raise ValueError(f"last_relus is {last_relus!r}; expected {', '.join(relus)}.")
    replacement = relus[last_relus]
    network = _measured(model, layers)
    folded, last = _foldable(network), _last_relus(network) if replacement else set()
    normalisations = {normalisation.name for normalisation in folded.values()}

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name in folded:
            config["use_bias"] = True
        if dtype != "float32":
            config["dtype"] = f"mixed_{dtype}"
        if layer.name in last and isinstance(layer, keras.layers.ReLU):
            return keras.layers.Activation(replacement, name=layer.name, dtype=config["dtype"])
        copy = layer.__class__.from_config(config)
        if layer.name in last:
            copy.activation = replacement
        return copy

    def call(copy: keras.Layer, *args, **kwargs):
        return args[0] if copy.name in normalisations else copy(*args, **kwargs)

    copy = keras.models.clone_model(network, clone_function=clone, call_function=call)
    _set_weights(copy, network, network)
    return copy


def exchange_weights(copy: keras.Model, old: Model, new: Model, layers: Sequence[str]) -> bool:
    """Give the copy of one model the weights of another; False if its architecture differs."""
    source, other = _measured(old, layers), _measured(new, layers)
    if _architecture(source) != _architecture(other):
        return False
    _set_weights(copy, source, other)
    return True


def _measured(model: Model, layers: Sequence[str]) -> keras.Model:
    """Cut a network at layers, or ``"logit"``."""
    return model.submodel([n for n in layers if n != "logit"], logit="logit" in layers)


def _set_weights(copy: keras.Model, source: keras.Model, other: keras.Model) -> None:
    """Give the copy of `source` the weights of `other`, which may name its layers differently."""
    twins = {
        one.name: twin for one, twin in zip(source.layers, other.layers, strict=True) if one.weights
    }
    folded = _foldable(other)
    for layer in (layer for layer in copy.layers if layer.weights):
        twin = twins[layer.name]
        weights = twin.get_weights()
        if twin.name in folded:
            weights = _fold(weights, folded[twin.name])
        set_layer_weights(layer, weights)


def _architecture(network: keras.Model) -> list:
    """Describe a network so that equal descriptions mean interchangeable lists of weights."""
    places = {id(operation.output): i for i, operation in enumerate(network.operations)}
    inputs = [
        [places[id(tensor)] for tensor in keras.tree.flatten(op.input)] for op in network.operations
    ]
    types = [
        (type(op), *(getattr(op, name, None) for name in ("strides", "padding", "pool_size")))
        for op in network.operations
    ]
    # In the order of the layers, not of `weights`, by which a model is described.
    return [inputs, types, [tuple(w.shape) for layer in network.layers for w in layer.weights]]


def _foldable(network: keras.Model) -> dict[str, keras.Layer]:
    """Batch normalisations that are a linear convolution's only consumer, by the latter's name."""
    consumers: dict[int, list] = {id(output): [None] for output in network.outputs}
    for operation in network.operations:
        for tensor in keras.tree.flatten(operation.input):
            consumers.setdefault(id(tensor), []).append(operation)
    pairs = {}
    for operation in network.operations:
        linear = getattr(operation, "activation", None) is keras.activations.linear
        if linear and type(operation) is keras.layers.Conv2D:
            consumer, *others = consumers[id(operation.output)]
            if not others and isinstance(consumer, keras.layers.BatchNormalization):
                pairs[operation.name] = consumer
    return pairs


def _fold(weights: list[np.ndarray], normalisation: keras.Layer) -> list[np.ndarray]:
    """Kernel and bias of a convolution with its batch normalisation, in inference mode."""
    kernel, *bias = weights
    mean = normalisation.moving_mean.numpy()
    factor = 1 / np.sqrt(normalisation.moving_variance.numpy() + normalisation.epsilon)
    if normalisation.scale:
        factor *= normalisation.gamma.numpy()
    shift = normalisation.beta.numpy() if normalisation.center else 0
    return [kernel * factor, ((bias[0] if bias else 0) - mean) * factor + shift]


def _last_relus(network: keras.Model) -> set[str]:
    """Names of the layers with the ReLUs that lie between an output and its last convolutions."""
    makers = {id(operation.output): operation for operation in network.operations}
    names, todo = set(), [makers[id(output)] for output in network.outputs]
    while todo:
        operation = todo.pop()
        relu = getattr(operation, "activation", None) is keras.activations.relu
        if relu or isinstance(operation, keras.layers.ReLU):
            names.add(operation.name)
        elif type(operation).__name__.endswith(_PASSING):
            todo += [makers[id(tensor)] for tensor in keras.tree.flatten(operation.input)]
    return names


@tf.custom_gradient
def _redirected_relu(x: tf.Tensor):
    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        upstream = tf.convert_to_tensor(upstream)
        plain = tf.where(x > 0, upstream, 0)
        raising = tf.where((x > 0) | (upstream < 0), upstream, 0)
        silent = tf.reduce_all(plain == 0, axis=tuple(range(1, x.shape.rank)), keepdims=True)
        return tf.where(silent, raising, plain)

    return tf.nn.relu(x), gradient
