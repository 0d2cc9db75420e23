"""Gradient ascent from noise to the images that maximise objectives."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from utils.networks import Model
from utils.optvis import transform
from utils.optvis.crops import Crops
from utils.optvis.measures import COUPLING
from utils.optvis.objectives import INPUT, LOGIT, Objective, evaluate, select, tabulate
from utils.optvis.param import Image, image
from utils.optvis.preparation import exchange_weights, prepare_network
from utils.progress import progress_bar

BATCH_SIZE = 32  # images per step; larger batches are not faster


@dataclass(frozen=True)
class Rendering:
    """Result of gradient ascent."""

    images: np.ndarray  # at each threshold, (T, N, H, W, 3), float32 in [0, 1]
    history: np.ndarray  # the objectives before each step, (steps, N), float32
    # Sum over steps of the objective's absolute gradient, mean over colours, (N, H, W), float32:
    # where the network used the image. None unless asked for.
    transparency: np.ndarray | None = None


def render_vis(
    model: Model,
    objectives: Objective | Sequence[Objective],
    param_f: Callable[[], Image] | None = None,
    transforms: Sequence[transform.Transform] | Crops | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    thresholds: Sequence[int] = (512,),
    **options,
) -> np.ndarray:
    """Render one image for each objective, in batches that share one graph.

    Images that depend on each other (`objectives.diversity`, shared parts) are one batch, whatever
    its size. An interrupt (Ctrl-C, Jupyter's stop) returns the batches so far.

    Parameters
    ----------
    model : Model
        Network to visualise, which is left as it is.
    objectives : Objective or sequence of Objective
        What the images are to maximise.
    param_f : callable, optional
        Function that makes the `Image`, changed in place; by default Fourier images of 128 pixels.
    transforms : sequence of Transform or Crops, optional
        Random movements, empty for none, by default `transform.standard`; or crops of a canvas.
    optimizer : keras.optimizers.Optimizer, optional
        Optimizer, whose state starts anew in each batch; by default Adam at 0.05, as in Lucid.
    thresholds : sequence of int
        Steps after which to keep the images.
    **options
        ``seed`` of the first image's movements (image i has ``seed + i``); ``batch_size``, the
        largest number of images in a step; ``progress``, whether to show a bar; ``last_relus`` and
        ``dtype`` of `preparation.prepare_network`; ``transparency``, whether to add up where the
        network used the images, see `Rendering`.

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
    transforms: Sequence[transform.Transform] | Crops | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    thresholds: Sequence[int] = (512,),
    *,
    seed: int = 0,
    progress: bool = True,
    **options,
) -> Rendering:
    """Render as `render_vis` does, and return the history of the objectives with the images."""
    objectives = [objectives] if isinstance(objectives, Objective) else list(objectives)
    thresholds = sorted(set(thresholds))
    if not objectives or not thresholds or thresholds[0] < 1:
        raise ValueError(f"{len(objectives)} objectives, thresholds={thresholds}; expected some.")
    images = param_f() if param_f else image(128, batch=len(objectives), seed=seed)
    move = transforms
    if not isinstance(move, Crops):
        move = transform.compose(transform.standard() if transforms is None else transforms)
    optimizer = optimizer or keras.optimizers.Adam(0.05)
    ascent = Ascent(model, objectives, images, move, optimizer, **options)
    total = thresholds[-1] * len(ascent.batches)
    label = f"{len(objectives)} x {'+'.join(ascent.layers) or 'image'}"
    with progress_bar(total=total, desc=label, disable=not progress, leave=False) as bar:
        return ascent.run(objectives, images, thresholds, seed=seed, tick=bar.update)


class Ascent:
    """A compiled step of gradient ascent, and the loop around it.

    Tracing takes seconds, so that what varies is kept out of the graph: the numbers in the
    objectives, the draws of the transforms, and the weights, which `load` exchanges.
    """

    def __init__(
        self,
        model: Model,
        objectives: Sequence[Objective],
        images: Image,
        move: transform.Transform | Crops,
        optimizer: keras.optimizers.Optimizer,
        *,
        batch_size: int = BATCH_SIZE,
        transparency: bool = False,
        **preparation: str,
    ):
        self._kinds, table = tabulate(objectives)
        factors = [f for objective in objectives for t in objective.terms for f in t.factors]
        self.layers = [name for name in dict.fromkeys(f.layer for f in factors) if name != INPUT]
        if images.batch != len(objectives):
            raise ValueError(f"{images.batch} images for {len(objectives)} objectives.")
        _check(model, self.layers, objectives, move.resize(images.size))
        self.traces = 0  # how often the graph has been traced
        compared = any(factor.measure in COUPLING for factor in factors)
        if compared and move.count > 1:
            raise ValueError("objectives that compare images need them whole, without crops.")
        coupled = images.shared or compared  # depend on each other
        size = images.batch if coupled else max(1, batch_size // move.count)
        self.batches = _batches(images.batch, -(-images.batch // -(-images.batch // size)))
        self._move, self._optimizer, self._transparency = move, optimizer, transparency
        self._model = model
        self._network = prepare_network(model, self.layers, **preparation) if self.layers else None
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

        drawn = [tf.TensorSpec(x.shape, x.dtype) for x in self._move.draw(range(count), 1, 1)]

        @tf.function(input_signature=[specs, drawn])
        def step(table, draws):
            self.traces += 1  # runs when the graph is traced, not when it is run
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self._variables)
                pixels = images.render(self._variables)
                activations = {INPUT: pixels}
                if self._network is not None:
                    moved = self._move.apply(pixels, *draws)
                    activations |= self._network(moved * (white - black) + black, training=False)
                value = evaluate(self._kinds, table, activations, count, self._move.count)
                loss = -tf.reduce_sum(value)
            sources = [*self._variables, *([pixels] if self._transparency else [])]
            gradients = tape.gradient(loss, sources)
            self._optimizer.apply(gradients[: len(self._variables)], self._variables)
            used = [tf.reduce_mean(tf.abs(g), -1) for g in gradients[len(self._variables) :]]
            return value, used

        return step

    def load(self, model: Model) -> bool:
        """Exchange the network for one of the same architecture; else do nothing, return False."""
        same = model.preprocesses == self._model.preprocesses
        return same and exchange_weights(self._network, self._model, model, self.layers)

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

        The objectives may differ from those compiled in numbers alone, the images in values, and in
        how many there are.
        """
        _, table = tabulate(objectives)
        values = [variable.numpy() for variable in images.variables]
        kept = np.zeros((len(thresholds), images.batch, *images.size, 3), np.float32)
        history = np.full((thresholds[-1], images.batch), np.nan, np.float32)
        used = np.zeros((images.batch, *images.size), np.float32) if self._transparency else None
        for batch in _batches(images.batch, len(self.batches[0])):
            indices = [batch if len(value) == images.batch else [0] for value in values]
            _assign(self._variables, [v[i] for v, i in zip(values, indices, strict=True)])
            _assign(self._optimizer.variables, self._optimizer_start)
            rows, done = select(table, batch), batch.max() + 1
            try:
                for step in range(1, len(history) + 1):
                    if rates is not None:
                        self._optimizer.learning_rate.assign(rates[step - 1])
                    draws = self._move.draw(seed + batch, step, len(history))
                    value, gradients = self._step(rows, list(draws))
                    history[step - 1, batch] = measured = value.numpy()
                    for gradient in gradients:
                        used[batch] += gradient
                    if not np.isfinite(measured).all():
                        message = f"objectives are {measured} at step {step}: lower the rate."
                        raise FloatingPointError(message)
                    if step in thresholds:
                        kept[thresholds.index(step), batch] = images.render(self._variables)
                    tick()
            except KeyboardInterrupt:
                warnings.warn(
                    f"interrupted: returning {done} of {images.batch} images, the last "
                    f"{len(set(batch))} of them after {step} of {len(history)} steps.",
                    stacklevel=2,
                )
                kept[np.searchsorted(thresholds, step) :, batch] = images.render(self._variables)
                used = used if used is None else used[:done]
                return Rendering(kept[:, :done], history[:, :done], used)
            finally:
                for value, variable, index in zip(values, self._variables, indices, strict=True):
                    value[index] = variable.numpy()
                _assign(images.variables, values)
        return Rendering(kept, history, used)


def _assign(variables: Sequence, values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _batches(count: int, size: int) -> list[np.ndarray]:
    """Indices of equally many images, to trace once: a short batch repeats its last image."""
    batches = -(-count // size)
    return np.split(np.minimum(np.arange(batches * size), count - 1), batches)


def _check(
    model: Model, layers: Sequence[str], objectives: Sequence[Objective], size: transform.Size
) -> None:
    """Raise ValueError unless the network has what is measured of images of a size."""
    if layers and min(size) < (smallest := model.backbone.minimum_size):
        raise ValueError(f"images of {size} pixels after transforms; expected at least {smallest}.")
    if (channels := model.network.input_shape[-1]) != 3:
        raise ValueError(f"the network takes images of {channels} channels; expected RGB, 3.")
    names = [name for name in layers if name != LOGIT]
    model.check_spatial(names)
    shapes = model.submodel(names).compute_output_shape((1, *size, 3)) if names else {}
    factors = (f for objective in objectives for t in objective.terms for f in t.factors)
    for term in (factor for factor in factors if factor.layer in shapes):
        _, height, width, channels = shapes[term.layer]
        number, (x, y) = term.params.get("number", 0), term.params.get("position", (0, 0))
        shape = term.params.get("vector", np.empty(channels)).shape
        inside = (np.isnan(i) or i in range(n) for i, n in ((x, width), (y, height)))
        if number not in range(channels) or not all(inside) or shape != (channels,):
            raise ValueError(
                f"channel {number:g}, x={x:g}, y={y:g} or a vector of shape {shape} does not fit "
                f"{term.layer}: it has {channels} channels in {width} columns and {height} rows "
                "for this image, all counted from 0."
            )
