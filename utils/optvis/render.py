"""Gradient ascent from noise to the images that maximise objectives."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from utils.networks import Model
from utils.optvis import tabulation, transform
from utils.optvis.objectives import INPUT, LOGIT, Objective
from utils.optvis.param import Image, image
from utils.optvis.preparation import architecture, prepare_network
from utils.progress import progress_bar

BATCH_SIZE = 32  # images per step; larger batches are not faster


@dataclass(frozen=True)
class Rendering:
    """Result of gradient ascent."""

    images: np.ndarray  # at each threshold, (T, N, H, W, 3), float32 in [0, 1]
    history: np.ndarray  # the objectives before each step, (steps, N), float32


def render_vis(
    model: Model,
    objectives: Objective | Sequence[Objective],
    param_f: Callable[[], Image] | None = None,
    transforms: Sequence[transform.Transform] | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    thresholds: Sequence[int] = (512,),
    **options,
) -> np.ndarray:
    """Render one image for each objective, in batches that share one graph.

    Parameters
    ----------
    model : Model
        Network to visualise, which is left as it is.
    objectives : Objective or sequence of Objective
        What the images are to maximise.
    param_f : callable, optional
        Function that makes the `Image`, changed in place; by default Fourier images of 128 pixels.
    transforms : sequence of Transform, optional
        Random movements, empty for none; by default `transform.standard`.
    optimizer : keras.optimizers.Optimizer, optional
        Optimizer, whose state starts anew in each batch; by default Adam at 0.05, as in Lucid.
    thresholds : sequence of int
        Steps after which to keep the images.
    **options
        Options of `ascend`, and ``last_relus`` and ``dtype`` of `preparation.prepare_network`.

    Returns
    -------
    array, (T, N, H, W, 3), float32 in [0, 1]
        Images at each threshold.
    """
    return ascend(model, objectives, param_f, transforms, optimizer, thresholds, **options).images


def ascend(
    model: Model,
    objectives: Objective | Sequence[Objective],
    param_f: Callable[[], Image] | None = None,
    transforms: Sequence[transform.Transform] | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    thresholds: Sequence[int] = (512,),
    *,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    progress: bool = True,
    **preparation: str,
) -> Rendering:
    """Render as `render_vis` does, and return the history of the objectives with the images.

    The image at index i moves by the draws of seed ``seed + i``. Images that depend on each other
    (`objectives.diversity`, shared parts) are one batch, whatever its size. An interrupt (Ctrl-C,
    Jupyter's stop) ends the ascent and returns the batches so far.
    """
    objectives = [objectives] if isinstance(objectives, Objective) else list(objectives)
    thresholds = sorted(set(thresholds))
    if not objectives or not thresholds or thresholds[0] < 1 or batch_size < 1:
        raise ValueError(
            f"{len(objectives)} objectives, thresholds={thresholds}, batch_size={batch_size}: "
            "expected at least one objective, and thresholds and batch_size from 1."
        )
    images = param_f() if param_f else image(128, batch=len(objectives), seed=seed)
    move = transform.compose(transform.standard() if transforms is None else transforms)
    optimizer = optimizer or keras.optimizers.Adam(0.05)
    ascent = Ascent(
        model, objectives, images, move, optimizer, batch_size=batch_size, **preparation
    )
    names = "+".join(tabulation.layers(objectives)) or "image"
    labels = {"desc": f"{len(objectives)} x {names}", "unit": "step"}
    total = thresholds[-1] * len(ascent.batches)
    with progress_bar(total=total, disable=not progress, leave=False, **labels) as bar:
        return ascent.run(objectives, images, thresholds, seed=seed, tick=bar.update)


class Ascent:
    """A compiled step of gradient ascent and the loop around it, for the arguments of `ascend`.

    Tracing takes seconds, so that what varies is kept out of the graph: the numbers in the
    objectives, the draws of the transforms, and the weights, which `load` exchanges.
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
        **preparation: str,
    ):
        _check(model, objectives, images, move)
        layers = tabulation.layers(objectives)
        self.traces = 0  # how often the graph has been traced
        self.batches = _batches(objectives, images, batch_size)  # indices of the images of each
        self._move, self._optimizer = move, optimizer
        self._preprocesses = model.preprocesses
        self._kinds, table = tabulation.tabulate(objectives)
        self._prepare = partial(prepare_network, layers=layers, **preparation)
        self._network = self._prepare(model) if layers else None
        count = len(self.batches[0])
        self._variables = [tf.Variable(variable[:count]) for variable in images.variables]
        optimizer.build(self._variables)
        self._optimizer_start = [variable.numpy() for variable in optimizer.variables]
        self._step = self._compile(model, images, table)

    def _compile(self, model: Model, images: Image, table: Sequence[dict]) -> Callable:
        """Make the function that takes a step and returns the objectives before it."""
        count = len(self.batches[0])
        specs = tf.nest.map_structure(lambda c: tf.TensorSpec((None, *c.shape[1:]), c.dtype), table)
        # Preprocessing is affine, and cheaper as one product and one sum.
        black, white = model.preprocess(np.float32([[0, 0, 0], [255, 255, 255]]))

        @tf.function(input_signature=[specs, tf.TensorSpec((count, self._move.numbers))])
        def step(table, uniform):
            self.traces += 1  # runs when the graph is traced, not when it is run
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self._variables)
                pixels = images.render(self._variables)
                activations = {INPUT: pixels}
                if self._network is not None:
                    moved = transform.apply(pixels, self._move, uniform)
                    activations |= self._network(moved * (white - black) + black, training=False)
                value = tabulation.values(self._kinds, table, activations, count)
                loss = -tf.reduce_sum(value)
            self._optimizer.apply(tape.gradient(loss, self._variables), self._variables)
            return value

        return step

    def load(self, model: Model) -> bool:
        """Exchange the network for one of the same architecture; else do nothing, return False."""
        copy = self._prepare(model)
        same = architecture(copy) == architecture(self._network)
        same &= model.preprocesses == self._preprocesses
        if same:
            self._network.set_weights(copy.get_weights())
        return same

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
        """Continue from the current images, with these learning rates; call `tick` at each step.

        The objectives may differ from those compiled in numbers alone, the images in values alone.
        """
        kinds, table = tabulation.tabulate(objectives)
        if kinds != self._kinds:
            raise ValueError("the objectives differ in kind from those this was compiled for.")
        values = [variable.numpy() for variable in images.variables]
        kept = np.zeros((len(thresholds), images.batch, *images.size, 3), np.float32)
        history = np.full((thresholds[-1], images.batch), np.nan, np.float32)
        interrupted = False
        for batch in self.batches:
            indices = [batch if len(value) == images.batch else [0] for value in values]
            _assign(self._variables, [v[i] for v, i in zip(values, indices, strict=True)])
            _assign(self._optimizer.variables, self._optimizer_start)
            rows, done = tabulation.select(table, batch), batch.max() + 1
            try:
                for step in range(1, len(history) + 1):
                    if rates is not None:
                        self._optimizer.learning_rate.assign(rates[step - 1])
                    history[step - 1, batch] = self._take_step(rows, seed + batch, step)
                    if step in thresholds:
                        kept[thresholds.index(step), batch] = images.render(self._variables)
                    tick()
            except KeyboardInterrupt:
                interrupted = True
                kept[np.searchsorted(thresholds, step) :, batch] = images.render(self._variables)
                warnings.warn(
                    f"interrupted: returning {done} of {images.batch} images, the last "
                    f"{len(set(batch))} of them after {step} of {len(history)} steps.",
                    stacklevel=2,
                )
            for value, variable, index in zip(values, self._variables, indices, strict=True):
                value[index] = variable.numpy()
            if interrupted:
                break
        _assign(images.variables, values)
        return Rendering(kept[:, :done], history[:, :done])

    def _take_step(self, rows: Sequence[dict], seeds: np.ndarray, step: int) -> np.ndarray:
        values = self._step(rows, transform.draw(self._move, seeds, step)).numpy()
        if not np.isfinite(values).all():
            raise FloatingPointError(
                f"objectives {values} at step {step}, with learning rate "
                f"{float(self._optimizer.learning_rate):g}, seeds {seeds}: lower the learning "
                "rate, or look for NaN in the network's weights."
            )
        return values


def _assign(variables: Sequence, values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _batches(objectives: Sequence[Objective], images: Image, size: int) -> list[np.ndarray]:
    """Indices of equally many images, to trace once: a short batch repeats its last image."""
    if images.shared or tabulation.couples(objectives):
        size = images.batch
    count = -(-images.batch // size)
    size = -(-images.batch // count)
    return np.split(np.minimum(np.arange(count * size), images.batch - 1), count)


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
    height, width = move.resize(images.size)
    if min(height, width) < model.backbone.minimum_size:
        raise ValueError(
            f"the network would see {height} x {width} pixels of an image of {images.size[0]} x "
            f"{images.size[1]}, but {model.backbone.title} needs at least "
            f"{model.backbone.minimum_size}: take a larger image."
        )
    names = [name for name in layers if name != LOGIT]
    model.check_spatial(names)
    network = model.submodel(names, logit=LOGIT in layers)
    shapes = network.compute_output_shape((1, height, width, 3))
    tabulation.check(objectives, {name: shape[1:] for name, shape in shapes.items()})
