"""Named optimisation schedules, and the channels of several networks rendered by them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from utils.networks import Model
from utils.optvis import objectives, transform
from utils.optvis.ascent import BATCH_SIZE, Ascent
from utils.optvis.param import Image, image, perlin
from utils.progress import progress_bar


@dataclass(frozen=True)
class Stage:
    """A part of an ascent.

    Attributes
    ----------
    rates : array, (steps,)
        Learning rate of each step.
    total_variation : float
        Weight of the total variation that is subtracted from the objective.
    """

    rates: np.ndarray
    total_variation: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A start and the stages that follow.

    Attributes
    ----------
    perlin : bool
        Whether to start from Perlin noise rather than from Fourier noise.
    stages : sequence of Stage
        Each goes on from the images of the one before, with a fresh state of Adam.
    beta_1, beta_2 : float
        Decay rates of Adam's moments.
    """

    perlin: bool
    stages: tuple[Stage, ...]
    beta_1: float
    beta_2: float

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(len(stage.rates) for stage in self.stages)

    def start(self, size: int, batch: int, seed: int) -> Image:
        """Make the images to start from."""
        init = perlin(size, batch=batch, seed=seed) if self.perlin else None
        return image(size, batch=batch, init=init, seed=seed)

    def objective(self, layer: str, number: int, stage: Stage) -> objectives.Objective:
        """Return the objective of a channel in a stage; all stages have the same kinds of terms."""
        value = objectives.channel(layer, number)
        if any(other.total_variation for other in self.stages):
            value -= stage.total_variation * objectives.total_variation()
        return value


def fast(steps: int = 128) -> Recipe:
    """Return few and large steps without momentum, the last half of them ever smaller.

    Random movements change from step to step what a Fourier coefficient should do, so that
    momentum mostly carries on with what no longer holds.
    """
    _check_steps(steps)
    rates = np.full(steps, 0.1)
    half = steps // 2
    falling = np.cos(np.pi * np.arange(steps - half) / (steps - half))
    rates[half:] *= 0.6 + 0.4 * falling
    return Recipe(False, (Stage(rates),), beta_1=0.0, beta_2=0.9)


def lucid(steps: int = 512) -> Recipe:
    """Return Lucid's defaults: Adam at 0.05 from Fourier noise."""
    _check_steps(steps)
    return Recipe(False, (Stage(np.full(steps, 0.05)),), beta_1=0.9, beta_2=0.999)


def paper() -> Recipe:
    """Return the three steps of Graziani et al. (2019), from Perlin noise.

    512 steps; 1,024 with total variation at 0.025; 2,048 with 0.0025 at a tenth of the rate.
    """
    stages = (
        Stage(np.full(512, 0.05)),
        Stage(np.full(1024, 0.05), total_variation=0.025),
        Stage(np.full(2048, 0.005), total_variation=0.0025),
    )
    return Recipe(True, stages, beta_1=0.9, beta_2=0.999)


def named(name: str, *, steps: int = 128) -> Recipe:
    """Return `fast` or `lucid` with so many steps, or `paper`, which has its own."""
    if name not in ("fast", "lucid", "paper"):
        raise ValueError(f"recipe is {name!r}; expected fast, lucid or paper.")
    return paper() if name == "paper" else {"fast": fast, "lucid": lucid}[name](steps)


def render_channels(
    models: Mapping[str, Model],
    channels: Mapping[str, Sequence[int]],
    recipe: Recipe | None = None,
    *,
    size: int = 128,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    dtype: str = "float32",
) -> dict[str, dict[str, np.ndarray]]:
    """Render the same channels of several networks, from the same start.

    Parameters
    ----------
    models : mapping of str to Model
        By name; networks of one architecture share the graph of a layer.
    channels : mapping of str to sequence of int
        Channel numbers, by layer.
    recipe : Recipe, optional
        By default `fast`.
    size : int
        Height and width in pixels.
    seed : int
        Seed of the first image of each layer; see `render.ascend`.
    batch_size, dtype
        See `render.ascend`.

    Returns
    -------
    dict of str to dict of str to array, (N, size, size, 3), float32 in [0, 1]
        By network and layer, in the order of the layer's channels.
    """
    recipe = recipe or fast()
    rendered = {name: {} for name in models}
    batches = sum(-(-len(numbers) // batch_size) for numbers in channels.values())
    total = batches * len(models) * recipe.steps
    with progress_bar(total=total, unit="step", mininterval=1) as bar:
        for layer, numbers in channels.items():
            ascent = None
            targets = [
                [recipe.objective(layer, number, stage) for number in numbers]
                for stage in recipe.stages
            ]
            for name, model in models.items():
                bar.set_description(f"{layer}, {name}")
                images = recipe.start(size, len(numbers), seed)
                if ascent is None or not ascent.load(model):
                    ascent = Ascent(
                        model,
                        targets[0],
                        images,
                        transform.compose(transform.standard()),
                        _adam(recipe),
                        batch_size=batch_size,
                        dtype=dtype,
                    )
                for stage, target in zip(recipe.stages, targets, strict=True):
                    ascent.run(
                        target,
                        images,
                        [len(stage.rates)],
                        seed=seed,
                        rates=stage.rates,
                        tick=bar.update,
                    )
                rendered[name][layer] = images().numpy()
    return rendered


def _adam(recipe: Recipe) -> keras.optimizers.Adam:
    """Make an optimizer whose steps do not depend on how large activations are.

    Those of a random network are so small that gradients come near the default epsilon.
    """
    return keras.optimizers.Adam(beta_1=recipe.beta_1, beta_2=recipe.beta_2, epsilon=1e-12)


def _check_steps(steps: int) -> None:
    if steps < 1 or steps != int(steps):
        raise ValueError(f"steps is {steps}; expected a whole number from 1.")
