"""Gradient ascent from noise to the images that maximise objectives."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from utils.models import Model
from utils.optvis import objectives as objectives_module
from utils.optvis import transform as transform_module
from utils.optvis.objectives import INPUT, Objective
from utils.optvis.param import Image, image


def render_vis(
    model: Model,
    objectives: Objective | Sequence[Objective],
    param_f: Callable[[], Image] | None = None,
    transforms: Sequence[transform_module.Transform] | None = None,
    *,
    learning_rate: float = 0.05,
    thresholds: Sequence[int] = (512,),
    seed: int = 0,
    progress: bool = True,
) -> np.ndarray:
    """Render one image for each objective, all as one batch.

    Parameters
    ----------
    model : Model
        The network is cut at the deepest layer that the objectives use.
    objectives : Objective or sequence of Objective
        What the images are to maximise.
    param_f : callable, optional
        Makes the `Image`, with as many images as there are objectives; by default Fourier images
        of 128 pixels.
    transforms : sequence of Transform, optional
        By default `transform.standard()`; an empty one for none.
    learning_rate : float
        Of Adam.
    thresholds : sequence of int
        Steps after which to keep the images.
    seed : int
        Of the transforms: the image at index i moves by the draws of seed ``seed + i``.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    array, (T, N, H, W, 3), float32 in [0, 1]
        The images at each threshold.

    Raises
    ------
    ValueError
        If a layer or channel does not exist, the image is too small for the network, the numbers
        of images and objectives differ, or the objective becomes NaN.
    """
    objectives = [objectives] if isinstance(objectives, Objective) else list(objectives)
    thresholds = sorted(set(thresholds))
    if not objectives or not thresholds or thresholds[0] < 1:
        raise ValueError(
            f"{len(objectives)} objectives and thresholds={thresholds}: expected at least one of "
            "each, and thresholds from 1."
        )
    images = param_f() if param_f else image(128, batch=len(objectives), seed=seed)
    _check(model, objectives, images)
    kinds, rows = objectives_module.tabulate(objectives)
    move = transform_module.compose(
        transform_module.standard() if transforms is None else transforms
    )
    step = _step(model, kinds, len(objectives), images, move, learning_rate)
    rows = tf.nest.map_structure(tf.constant, rows)
    seeds = range(seed, seed + len(objectives))
    snapshots = []
    for number in tqdm(
        range(1, thresholds[-1] + 1),
        desc=f"{len(objectives)} x {'+'.join(objectives_module.layers(objectives))}",
        unit="step",
        disable=not progress,
        mininterval=1,
        leave=False,
    ):
        value = step(rows, transform_module.draw(move, seeds, number)).numpy()
        if not np.isfinite(value).all():
            raise ValueError(
                f"the objective is {value} at step {number}, with learning_rate={learning_rate}, "
                f"seed={seed}: lower learning_rate."
            )
        if number in thresholds:
            snapshots.append(images().numpy())
    return np.stack(snapshots)


def render_channels(
    model: Model,
    channels: Mapping[str, Sequence[int]],
    *,
    size: int = 128,
    steps: int = 128,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Render channels layer by layer, one batch a layer.

    Parameters
    ----------
    model : Model
    channels : mapping of str to sequence of int
        Channel numbers, by layer.
    size : int
        Height and width in pixels.
    steps : int
        Of ascent.
    seed : int
        Of the first image of each batch; see `render_vis`.

    Returns
    -------
    dict of str to array, (N, size, size, 3), float32 in [0, 1]
        By layer, in the order of its channels.
    """
    rendered = {}
    for layer, numbers in tqdm(channels.items(), desc=f"render {model.title}", unit="layer"):
        start = image(size, batch=len(numbers), seed=seed)
        rendered[layer] = render_vis(
            model,
            [objectives_module.channel(layer, number) for number in numbers],
            lambda start=start: start,
            thresholds=(steps,),
            seed=seed,
        )[-1]
    return rendered


def _step(
    model: Model,
    kinds: tuple,
    count: int,
    images: Image,
    move: transform_module.Transform,
    learning_rate: float,
) -> Callable[..., tf.Tensor]:
    """Compile a step of ascent: what varies between channels and steps comes in as tensors."""
    names = list(dict.fromkeys(layer for _, layer in kinds if layer != INPUT))
    network = _redirect_relus(model.submodel(names)) if names else None
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(images.variables)

    @tf.function
    def step(rows, uniform):
        with tf.GradientTape() as tape:
            pixels = images()
            moved = transform_module.apply(pixels, move, uniform)
            activations = {INPUT: pixels}
            if network is not None:
                activations |= network(model.preprocess(255 * moved), training=False)
            value = objectives_module.values(kinds, rows, activations, count)
            loss = -tf.reduce_sum(value)
        optimizer.apply(tape.gradient(loss, images.variables), images.variables)
        return value

    return step


def _redirect_relus(network: keras.Model) -> keras.Model:
    """Copy a network so that channels which are silent on noise can be woken.

    Where a ReLU stops all of an image's gradient, the copy lets through the part that would raise
    its input, as Lucid's redirected gradient does; the outputs are the same.
    """

    @tf.custom_gradient
    def relu(x):
        def gradient(upstream):
            upstream = tf.convert_to_tensor(upstream)
            plain = tf.where(x > 0, upstream, 0)
            raising = tf.where((x > 0) | (upstream < 0), upstream, 0)
            axes = tuple(range(1, len(x.shape)))
            silent = tf.reduce_all(plain == 0, axis=axes, keepdims=True)
            return tf.where(silent, raising, plain)

        return tf.nn.relu(x), gradient

    def clone(layer: keras.Layer) -> keras.Layer:
        copy = layer.__class__.from_config(layer.get_config())
        if getattr(layer, "activation", None) is keras.activations.relu:
            copy.activation = relu
        return copy

    copy = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    return copy


def _check(model: Model, objectives: Sequence[Objective], images: Image) -> None:
    if images.variables[0].shape[0] != len(objectives):
        raise ValueError(
            f"param_f makes {images.variables[0].shape[0]} images for {len(objectives)} "
            "objectives: give batch=len(objectives)."
        )
    if min(images.size) < model.backbone.minimum_size:
        raise ValueError(
            f"the image is {images.size[0]} x {images.size[1]} pixels, but {model.backbone.title} "
            f"needs at least {model.backbone.minimum_size}."
        )
    for objective in objectives:
        for term in objective.terms:
            if term.layer == INPUT or not term.params:
                continue
            channels = model.layer(term.layer).output.shape[-1]
            wanted = term.params[0]
            if wanted.ndim == 0 and wanted >= channels:
                raise ValueError(
                    f"channel {wanted} of {term.layer} does not exist: the layer has the channels "
                    f"0 to {channels - 1}."
                )
            if wanted.ndim == 1 and len(wanted) != channels:
                raise ValueError(
                    f"the direction in {term.layer} has {len(wanted)} numbers, but the layer has "
                    f"{channels} channels."
                )
