"""Rendering, objectives and activations with Lucid, reproducibly."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.util import deprecation

from utils.lucid_bridge.tensorflow1 import import_lucid, tf1
from utils.progress import progress_bar


@contextmanager
def _session(seed: int) -> Iterator[tf1.Session]:
    """Open a graph and a session in which everything random depends on `seed` alone."""
    state = np.random.get_state()  # the generator from which Lucid draws its first images
    with tf1.Graph().as_default(), tf1.Session() as session, deprecation.silence():
        tf1.set_random_seed(seed)
        np.random.seed(seed)
        try:
            yield session
        finally:
            np.random.set_state(state)


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
    steps, learning_rate : int, float
        Number of steps of Adam, and its learning rate.
    seed : int
        Seed of everything random.
    transforms : sequence of callables, optional
        Transforms of ``lucid.optvis.transform``; by default its ``standard_transforms``.
    description, progress : str, bool
        Label of the progress bar, and whether to show it.

    Returns
    -------
    array, (N, H, W, 3), float32 in [0, 1]
    """
    make_vis_T = import_lucid().optvis.render.make_vis_T
    with _session(seed) as session:
        tensors = make_vis_T(
            model,
            objective,
            param_f,
            optimizer=tf1.train.AdamOptimizer(learning_rate),
            transforms=None if transforms is None else list(transforms),
            relu_gradient_override=True,
        )
        session.run(tf1.global_variables_initializer())
        for _ in progress_bar(range(steps), desc=description, unit="step", disable=not progress):
            session.run(tensors("vis_op"))
        return session.run(tensors("input"))


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
    layer : str
        Any name of the layer.
    channels : sequence of int
        Channels to maximise, one per image.
    size : int
        Height and width of the images in pixels.

    Returns
    -------
    array, (N, size, size, 3), float32 in [0, 1]
    """
    optvis, depth = import_lucid().optvis, model.get_layer(layer).depth
    channels = [operator.index(channel) for channel in channels]
    if not channels or min(channels) < 0 or max(channels) >= depth:
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


def evaluate(model: Any, objective: Any, images: np.ndarray) -> Any:
    """Compute a Lucid objective of images, ``(N, H, W, 3)`` float in [0, 1], as they are."""
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype.kind != "f":
        raise ValueError(
            f"images are {images.dtype} of shape {images.shape}; expected floats in [0, 1] of "
            "shape (N, H, W, 3): divide uint8 images by 255."
        )
    optvis = import_lucid().optvis
    with _session(seed=0) as session:
        inputs = tf1.placeholder(tf.float32, images.shape)
        tensors = optvis.render.import_model(model, inputs, inputs)
        values = optvis.objectives.as_objective(objective)(tensors)
        return session.run(values, feed_dict={inputs: images})


def activations(model: Any, images: np.ndarray, layer: str) -> np.ndarray:
    """Compute a layer's activations of images, ``(N, h, w, C)`` or ``(N, C)``, through Lucid."""
    return evaluate(model, lambda tensors: tensors(layer), images)
