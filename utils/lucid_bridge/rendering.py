"""Images rendered by Lucid, reproducibly, several graphs at once.

A graph of Lucid is built and optimised by one thread; meanwhile another one is computed. What each
computes is the same as alone, bit by bit.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.util import deprecation

from utils.lucid_bridge.tensorflow1 import import_lucid, tf1
from utils.once import Once, directly
from utils.progress import progress_bar

AT_ONCE = 2  # graphs that are computed at the same time
_BUILDING = threading.Lock()  # Lucid draws its first images from NumPy's one generator


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
    bar = {"description": description, "progress": progress}
    about = {"steps": steps, "seed": seed, "transforms": transforms, "learning_rate": learning_rate}
    return _render_together({"": (model, objective, param_f)}, **bar, **about)[""]


def _render_together(
    jobs: Mapping[str, tuple[Any, Any, Callable]],
    *,
    steps: int = 128,
    description: str = "Lucid",
    progress: bool = True,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Render several objectives, given with model and images, under one progress bar."""
    stop, counting = threading.Event(), threading.Lock()
    total = steps * len(jobs)
    with (
        progress_bar(total=total, desc=description, unit="step", disable=not progress) as bar,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):

        def tick() -> bool:
            with counting:
                bar.update()
            return stop.is_set()

        try:
            started = [threads.submit(_render, *j, steps, tick, **options) for j in jobs.values()]
            ended = wait(started, return_when=FIRST_EXCEPTION).done
            results = [one.result() for one in sorted(ended, key=started.index)]
            return dict(zip(jobs, results, strict=True))
        except BaseException:  # such as an interrupt
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _render(
    model: Any,
    objective: Any,
    param_f: Callable,
    steps: int,
    tick: Callable[[], bool],
    *,
    seed: int = 0,
    transforms: Sequence[Callable] | None = None,
    learning_rate: float = 0.05,
) -> np.ndarray:
    """Render one objective; call `tick` after each step, and stop if it says so."""
    threads = max(1, (os.cpu_count() or 1) // AT_ONCE)
    config = tf1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=threads,
        use_per_session_threads=True,
    )
    with tf1.Graph().as_default(), tf1.Session(config=config) as session:
        with _BUILDING, deprecation.silence():
            state = np.random.get_state()
            try:
                if hasattr(model, "cut"):
                    model = model.cut(_needed_layers(model, objective, param_f))
                tf1.set_random_seed(seed)
                np.random.seed(seed)
                tensors = import_lucid().optvis.render.make_vis_T(
                    model,
                    objective,
                    param_f,
                    optimizer=tf1.train.AdamOptimizer(learning_rate),
                    transforms=None if transforms is None else list(transforms),  # a list only
                    relu_gradient_override=True,
                )
                initialise = tf1.global_variables_initializer()
            finally:
                np.random.set_state(state)
        session.run(initialise)
        for _ in range(steps):
            session.run(tensors("vis_op"))
            if tick():
                break
        return session.run(tensors("input"))


def _needed_layers(model: Any, objective: Any, param_f: Callable) -> list[str]:
    """Names of the layers that an objective measures, found by calling it on placeholders."""
    needed = []

    def tensors(name: str) -> Any:
        if name in ("input", "labels"):
            return images if name == "input" else model.labels
        needed.append(name)
        return tf1.placeholder(tf.float32, [images.shape[0], *model.get_layer(name).shape[1:]])

    with tf1.Graph().as_default():
        images = param_f()
        import_lucid().optvis.objectives.as_objective(objective)(tensors)
    return needed


def render_all(
    model: Any, examples: Mapping[str, tuple[Any, Callable]], **options: Any
) -> tuple[np.ndarray, list[str]]:
    """Render several objectives of one network with Lucid.

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
    jobs = {title: (model, *example) for title, example in examples.items()}
    images = _render_together(jobs, **options)
    titles = [t if i == 0 else "" for t, batch in images.items() for i in range(len(batch))]
    return np.concatenate([*images.values()]), titles


def render_channels(
    models: Mapping[str, Any],
    channels: Mapping[str, Sequence[int]],
    *,
    size: int = 128,
    once: Once = directly,
    **options: Any,
) -> dict[str, dict[str, np.ndarray]]:
    """Render the same channels of several networks with Lucid, those of a layer in one graph.

    Parameters
    ----------
    models : mapping of str to lucid.modelzoo.vision_base.Model
        Models from `to_lucid`, by name of the network.
    channels : mapping of str to sequence of int
        Channels to maximise, one per image, by any name of their layer.
    size : int
        Height and width of the images in pixels.
    once : callable
        How each layer is computed: ``once(function, *arguments, **options)``, as by `Run.once`,
        which keeps results.
    **options
        As in `render`.

    Returns
    -------
    dict of str to dict of str to array, (N, size, size, 3), float32 in [0, 1]
        By network and layer.
    """
    images: dict[str, dict[str, np.ndarray]] = {name: {} for name in models}
    for layer, numbers in channels.items():
        made = once(_render_layer, models, layer, tuple(numbers), size, **options)
        for name in models:
            images[name][layer] = made[name]
    return images


def _render_layer(
    models: Mapping[str, Any], layer: str, channels: Sequence[int], size: int, **options: Any
) -> dict[str, np.ndarray]:
    """Render channels of one layer, by network."""
    optvis = import_lucid().optvis
    depth = min(model.get_layer(layer).depth for model in models.values())
    if not len(channels) or any(channel not in range(depth) for channel in channels):
        raise ValueError(f"channels of {layer} are {channels}; expected some of 0 to {depth - 1}.")
    terms = [optvis.objectives.channel(layer, c, batch=i) for i, c in enumerate(channels)]
    objective = optvis.objectives.Objective.sum(terms)
    start = partial(optvis.param.image, size, batch=len(channels))
    jobs = {name: (model, objective, start) for name, model in models.items()}
    return _render_together(jobs, description=f"Lucid, {layer}", **options)


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
