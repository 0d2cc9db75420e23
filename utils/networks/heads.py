"""The classifier on top of a backbone, and its log-odds of tumor."""

import keras


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
