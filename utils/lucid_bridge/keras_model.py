"""Any Keras network as a Lucid model, and images rendered by Lucid, reproducibly."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.util import deprecation

from utils.lucid_bridge.freezing import cut, freeze
from utils.lucid_bridge.tensorflow1 import import_lucid, tf1
from utils.networks.backbones import nearest_names
from utils.progress import progress_bar


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


def render(
    model: Any,
    objective: Any,
    param_f: Callable,
    *,
    steps: int = 128,
    seed: int = 0,
    transforms: Sequence[Callable] | None = None,
    learning_rate: float = 0.05,
    description: str = "Lucid",
    progress: bool = True,
) -> np.ndarray:
    """Render an objective with Lucid, reproducibly and without its printing.

    Parameters
    ----------
    model : lucid.modelzoo.vision_base.Model
        Model from `to_lucid`.
    objective : lucid.optvis.objectives.Objective, str or callable
        Objective of all images of the batch together.
    param_f : callable
        Function that makes images, such as ``partial(lucid.optvis.param.image, 128, batch=4)``.
    steps, learning_rate, seed : int, float, int
        Number of steps of Adam, its learning rate, and the seed of everything random.
    transforms : sequence of callable, optional
        Transforms of ``lucid.optvis.transform``; by default its ``standard_transforms``.
    description, progress : str, bool
        Label of the progress bar, and whether to show it.

    Returns
    -------
    array, (N, H, W, 3), float32 in [0, 1]
    """
    make_vis_T = import_lucid().optvis.render.make_vis_T
    state = np.random.get_state()  # the generator from which Lucid draws its first images
    with tf1.Graph().as_default(), tf1.Session() as session, deprecation.silence():
        try:
            if hasattr(model, "cut"):
                model = model.cut(_needed_layers(model, objective, param_f))
            tf1.set_random_seed(seed)
            np.random.seed(seed)
            tensors = make_vis_T(
                model,
                objective,
                param_f,
                optimizer=tf1.train.AdamOptimizer(learning_rate),
                transforms=None if transforms is None else list(transforms),  # Lucid wants a list
                relu_gradient_override=True,
            )
            session.run(tf1.global_variables_initializer())
            for _ in progress_bar(range(steps), desc=description, disable=not progress):
                session.run(tensors("vis_op"))
            return session.run(tensors("input"))
        finally:
            np.random.set_state(state)


def _needed_layers(model: Any, objective: Any, param_f: Callable) -> list[str]:
    """Names of the layers that an objective measures, found by calling it on placeholders."""
    needed = []

    def tensors(name: str) -> Any:
        if name in ("input", "labels"):
            return images if name == "input" else model.labels
        needed.append(name)
        return tf1.placeholder(tf.float32, [images.shape[0], *model.get_layer(name).shape[1:]])

    with tf1.Graph().as_default(), deprecation.silence():
        images = param_f()
        import_lucid().optvis.objectives.as_objective(objective)(tensors)
    return needed


def render_all(
    model: Any, examples: Mapping[str, tuple[Any, Callable]], **options: Any
) -> tuple[np.ndarray, list[str]]:
    """Render several objectives with Lucid, one after the other.

    Parameters
    ----------
    model, **options
        As in `render`.
    examples : mapping of str to (objective, param_f)
        As in `render`, by title; all images have one size.

    Returns
    -------
    images : array, (N, H, W, 3), float32 in [0, 1]
    titles : list of N str
        Title of each objective at its first image, empty at its others.
    """
    images = {
        title: render(model, objective, param_f, description=title, **options)
        for title, (objective, param_f) in examples.items()
    }
    titles = [t if i == 0 else "" for t, batch in images.items() for i in range(len(batch))]
    return np.concatenate([*images.values()]), titles


def render_channels(
    model: Any, layer: str, channels: Sequence[int], *, size: int = 128, **options: Any
) -> np.ndarray:
    """Render channels of a layer with Lucid, all in one graph.

    Parameters
    ----------
    model, **options
        As in `render`.
    layer, channels : str, sequence of int
        Any name of the layer, and the channels to maximise, one per image.
    size : int
        Height and width of the images in pixels.

    Returns
    -------
    array, (N, size, size, 3), float32 in [0, 1]
    """
    optvis, depth = import_lucid().optvis, model.get_layer(layer).depth
    if not len(channels) or any(channel not in range(depth) for channel in channels):
        raise ValueError(f"channels of {layer} are {channels}; expected some of 0 to {depth - 1}.")
    objective = optvis.objectives.Objective.sum(
        [optvis.objectives.channel(layer, c, batch=i) for i, c in enumerate(channels)]
    )
    param_f = partial(optvis.param.image, size, batch=len(channels))
    return render(model, objective, param_f, description=f"Lucid, {layer}", **options)


def aligned_images(size: int, batch: int) -> tf.Tensor:
    """Make images that share a coarse one of a quarter of their size, so that they morph.

    Parameters
    ----------
    size, batch : int
        Height and width in pixels, and number of images.

    Returns
    -------
    tf.Tensor, (batch, size, size, 3), in [0, 1]
    """
    param, shape = import_lucid().optvis.param, (batch, size, size, 3)
    coarse = max(1, size // 4)
    shared = param.lowres_tensor(shape, (1, coarse, coarse, 3))
    return param.to_valid_rgb(param.fft_image(shape) + shared, decorrelate=True, sigmoid=True)
