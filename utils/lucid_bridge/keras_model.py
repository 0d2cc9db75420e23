"""Any Keras network as a Lucid model."""

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from utils.lucid_bridge.freezing import cut, freeze
from utils.lucid_bridge.tensorflow1 import import_lucid
from utils.networks.backbones import nearest_names


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
        carry those of Lucid's model zoo, Keras' and the paper's short ones (``mixed5b``) too. A
        finetuned `Model` has the labels ``normal`` and ``tumor``, and a layer ``log_odds`` with
        one column for each, such as for ``objectives.class_logit("log_odds", "tumor")``.
    """
    network, backbone = getattr(model, "network", model), getattr(model, "backbone", None)
    has_head = backbone is not None and len(network.outputs[0].shape) == 2
    lucid_model = _keras_model_class()(*freeze(network, log_odds=has_head))
    if has_head:
        lucid_model.labels = ["normal", "tumor"]
    lucid_model.name, lucid_model.image_value_range = network.name, image_value_range
    sizes = network.input_shape[1:3]
    if backbone is not None:
        lucid_model.name = f"{Path(model.weights).name}_{backbone.name}"
        sizes = [size or backbone.default_size for size in sizes]
        black, white = model.preprocess(np.float32([[0, 0, 0], [255, 255, 255]]))
        lucid_model.image_value_range = black, white
        for short in backbone.layers:
            lucid_model.by_name[short] = lucid_model.by_name[model.layer(short).name]
        if model.sha256:
            lucid_model.identity = model.identity
    lucid_model.image_shape = [*sizes, 3]
    return lucid_model


@cache
def _keras_model_class() -> type:
    """Define the Lucid model of a Keras network, whose base class exists once Lucid is imported."""
    vision_base = import_lucid().modelzoo.vision_base

    class KerasModel(vision_base.Model):
        """A Keras network as a Lucid model, see `to_lucid`."""

        name = None  # the network's, where Lucid's own models have the name of their class
        input_name = "input"

        def __init__(self, graph_def, layers):
            super().__init__()
            self.graph_def, self.layers, self.by_name = graph_def, [], {}
            in_zoo = any(name != lucid_name for name, (lucid_name, _) in layers.items())
            for keras_name, (lucid_name, tensor) in layers.items():
                tags = {2: ["dense"], 4: ["conv"]}.get(tensor.shape.rank, [])
                layer = vision_base.Layer(self, lucid_name, tensor.shape[-1], tags)
                layer.node, layer.shape = tensor.op.name, tensor.shape
                self.by_name[keras_name] = self.by_name[lucid_name] = layer
                if lucid_name != keras_name:  # .../Conv2d_4a_3x3/Relu is conv2d_4a in the paper
                    paper_name = lucid_name.split("/")[-2].lower().replace("mixed_", "mixed")
                    self.by_name[re.sub(r"_\dx\d$", "", paper_name)] = layer
                # The model zoo lists the layers of interest, not each of 300 operations.
                if not in_zoo or lucid_name != keras_name or "dense" in tags:
                    self.layers.append(layer)

        def load_graphdef(self):
            """Do nothing, since the graph exists from the start."""

        def get_layer(self, name):
            """Return a layer by any of its names."""
            if name not in self.by_name:
                nearest = nearest_names(name, self.by_name) or list(self.by_name)[:5]
                raise ValueError(f"{self.name} has no layer {name!r}; the nearest are {nearest}.")
            return self.by_name[name]

        def cut(self, names):
            """Return a copy without what some layers do not need."""
            smaller = copy.copy(self)
            smaller.graph_def = cut(self.graph_def, [self.node_name(n) for n in ("input", *names)])
            return smaller

        def node_name(self, name):
            """Return what the graph calls a layer; "input" and "labels" are Lucid's own."""
            return name if name in ("input", "labels") else self.get_layer(name).node

    return KerasModel
