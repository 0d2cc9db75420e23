"""A compiled step of gradient ascent, and the loop around it."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from utils.networks import Model
from utils.optvis import tabulation, transform
from utils.optvis.objectives import INPUT, LOGIT, Objective
from utils.optvis.param import Image
from utils.optvis.preparation import architecture, prepare_network

BATCH_SIZE = 32  # images per step; larger batches are not faster


@dataclass(frozen=True)
class Rendering:
    """What gradient ascent gives.

    Attributes
    ----------
    images : array, (T, N, H, W, 3), float32 in [0, 1]
        The images at each threshold.
    history : array, (steps, N), float32
        The objectives at each step, before it.
    """

    images: np.ndarray
    history: np.ndarray


class Ascent:
    """A compiled step of ascent and the loop around it.

    Tracing the step takes seconds, so that what varies is kept out of the graph: the numbers in the
    objectives, the draws of the transforms, and the weights, which `load` exchanges.

    Parameters
    ----------
    model, objectives, images, optimizer, batch_size, last_relus, dtype
        As in `ascend`; later `objectives` may differ in numbers but not in kind, and later `images`
        in values alone.
    move : Transform

    Attributes
    ----------
    batches : list of array
        Indices of the images of each batch.
    traces : int
        How often the graph has been traced.
    """

    def __init__(
        self,
        model: Model,
        objectives: Sequence[Objective],
        images: Image,
        move: transform.Transform,
        optimizer: keras.optimizers.Optimizer,
        *,
        batch_size: int = BATCH_SIZE,
        last_relus: str = "redirected",
        dtype: str = "float32",
    ):
        layers = tabulation.layers(objectives)
        self.traces = 0
        self._prepare = lambda model: prepare_network(
            model, layers, last_relus=last_relus, dtype=dtype
        )
        self._move, self._optimizer = move, optimizer
        self._preprocesses = model.preprocesses
        self._kinds, rows = tabulation.tabulate(objectives)
        _check(model, objectives, images, move)
        self.batches = _batches(objectives, images, batch_size)
        self._network = self._prepare(model) if layers else None
        count = len(self.batches[0])
        starts = [v[:count] if v.shape[0] == images.batch else v for v in images.variables]
        self._variables = [tf.Variable(start) for start in starts]
        optimizer.build(self._variables)
        self._optimizer_start = [variable.numpy() for variable in optimizer.variables]
        self._step = self._compile(model, images, rows)
        self._pixels = lambda: images.render(self._variables)

    def _compile(self, model: Model, images: Image, rows: Sequence[tuple]) -> Callable:
        """Make the function that takes a step and returns the objectives before it."""
        count = len(self.batches[0])
        specs = [
            tuple(tf.TensorSpec((None, *column.shape[1:]), column.dtype) for column in row)
            for row in rows
        ]
        # Preprocessing is affine, and cheaper as one product and one sum.
        black, white = model.preprocess(np.float32([[0, 0, 0], [255, 255, 255]]))

        @tf.function(input_signature=[specs, tf.TensorSpec((count, self._move.numbers))])
        def step(rows, uniform):
            self.traces += 1  # runs when the graph is traced, not when it is run
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self._variables)
                pixels = images.render(self._variables)
                activations = {INPUT: pixels}
                if self._network is not None:
                    moved = transform.apply(pixels, self._move, uniform)
                    activations |= self._network(moved * (white - black) + black, training=False)
                value = tabulation.values(self._kinds, rows, activations, count)
                loss = -tf.reduce_sum(value)
            self._optimizer.apply(tape.gradient(loss, self._variables), self._variables)
            return value

        return step

    def load(self, model: Model) -> bool:
        """Exchange the network for one of the same architecture; else do nothing, return False."""
        copy = self._prepare(model)
        same = architecture(copy) == architecture(self._network)
        if not same or model.preprocesses != self._preprocesses:
            return False
        self._network.set_weights(copy.get_weights())
        return True

    def run(
        self,
        objectives: Sequence[Objective],
        images: Image,
        thresholds: Sequence[int],
        *,
        seed: int = 0,
        rates: Sequence[float] | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> Rendering:
        """Continue from the current images; see `ascend`.

        Parameters
        ----------
        objectives, images, thresholds, seed
            As in `ascend`.
        rates : sequence of float, optional
            Learning rate of each step, in place of the optimizer's own.
        tick : callable
            Called after every step of every batch.

        Returns
        -------
        Rendering
        """
        kinds, rows = tabulation.tabulate(objectives)
        if kinds != self._kinds:
            raise ValueError("the objectives differ in kind from those this was compiled for.")
        values = [variable.numpy() for variable in images.variables]
        single = [len(value) == images.batch for value in values]  # not shared by all images
        kept = np.zeros((len(thresholds), images.batch, *images.size, 3), np.float32)
        history = np.full((thresholds[-1], images.batch), np.nan, np.float32)
        done = 0
        for batch in self.batches:
            starts = [v[batch] if alone else v for v, alone in zip(values, single, strict=True)]
            _assign(self._variables, starts)
            _assign(self._optimizer.variables, self._optimizer_start)
            numbers = tabulation.select(rows, batch)
            interrupted = False
            try:
                for number in range(1, thresholds[-1] + 1):
                    rate = None if rates is None else rates[number - 1]
                    found = self._take_step(numbers, seed + batch, number, rate)
                    history[number - 1, batch] = found
                    if number in thresholds:
                        kept[thresholds.index(number), batch] = self._pixels().numpy()
                    tick()
            except KeyboardInterrupt:
                kept[np.searchsorted(thresholds, number) :, batch] = self._pixels().numpy()
                interrupted = True
            for value, variable, alone in zip(values, self._variables, single, strict=True):
                value[batch if alone else 0] = variable.numpy() if alone else variable.numpy()[0]
            done = batch.max() + 1
            if interrupted:
                warnings.warn(
                    f"interrupted: returning {done} of {images.batch} images, the last "
                    f"{len(set(batch))} of them after {number} of {thresholds[-1]} steps.",
                    stacklevel=2,
                )
                break
        _assign(images.variables, values)
        return Rendering(kept[:, :done], history[:, :done])

    def _take_step(
        self, numbers: Sequence[tuple], seeds: np.ndarray, number: int, rate: float | None
    ) -> np.ndarray:
        """Take a step of one batch, and return the objectives before it."""
        if rate is not None:
            self._optimizer.learning_rate.assign(rate)
        values = self._step(numbers, transform.draw(self._move, seeds, number)).numpy()
        if not np.isfinite(values).all():
            raise FloatingPointError(
                f"objectives {values} at step {number}, with learning rate "
                f"{float(self._optimizer.learning_rate):g}, seeds {seeds}: lower the learning "
                "rate, or look for NaN in the network's weights."
            )
        return values


def _assign(variables: Sequence, values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _batches(objectives: Sequence[Objective], images: Image, size: int) -> list[np.ndarray]:
    """Indices of equally many images; where the last batch is short, its last image is repeated.

    One shape for all batches, since another one would be traced anew.
    """
    if images.shared or tabulation.couples(objectives):
        size = images.batch
    count = -(-images.batch // size)
    size = -(-images.batch // count)
    indices = np.minimum(np.arange(count * size), images.batch - 1)
    return np.split(indices, count)


def _check(
    model: Model, objectives: Sequence[Objective], images: Image, move: transform.Transform
) -> None:
    if images.batch != len(objectives):
        raise ValueError(
            f"param_f makes {images.batch} images for {len(objectives)} objectives: give "
            "batch=len(objectives)."
        )
    layers = tabulation.layers(objectives)
    if not layers:
        return
    seen = move.resize(images.size)
    if min(seen) < model.backbone.minimum_size:
        raise ValueError(
            f"the network would see {seen[0]} x {seen[1]} pixels of an image of {images.size[0]} x "
            f"{images.size[1]}, but {model.backbone.title} needs at least "
            f"{model.backbone.minimum_size}: take a larger image."
        )
    network = model.submodel([name for name in layers if name != LOGIT], logit=LOGIT in layers)
    shapes = network.compute_output_shape((1, *seen, 3))
    tabulation.check(objectives, {name: shape[1:] for name, shape in shapes.items()})
