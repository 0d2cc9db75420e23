"""Named optimisation schedules, and the channels of several networks rendered by them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from utils.networks import Model
from utils.optvis import objectives, transform
from utils.optvis.param import Image, image, perlin
from utils.optvis.render import BATCH_SIZE, Ascent
from utils.progress import progress_bar


@dataclass(frozen=True)
class Stage:
    """A part of an ascent."""

    rates: np.ndarray  # learning rate of each step
    total_variation: float = 0.0  # weight in the objective, from which it is subtracted


@dataclass(frozen=True)
class Recipe:
    """A start and the stages that follow, each with a fresh state of Adam."""

    perlin: bool  # start from Perlin noise rather than from Fourier noise
    stages: tuple[Stage, ...]
    beta_1: float  # decay rates of Adam's moments
    beta_2: float

    @property
    def steps(self) -> int:
        """Number of steps of all stages."""
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

    def adam(self) -> keras.optimizers.Adam:
        """Make an optimizer with an epsilon below the gradients of random networks."""
        return keras.optimizers.Adam(beta_1=self.beta_1, beta_2=self.beta_2, epsilon=1e-12)


def fast(steps: int = 128) -> Recipe:
    """Return few and large steps, which decrease over the second half, without momentum.

    Random movements change gradients at each step: momentum mostly adds outdated directions.
    """
    rates = _constant_rates(0.1, steps)
    second_half = rates[steps // 2 :]
    second_half *= 0.6 + 0.4 * np.cos(np.pi * np.arange(len(second_half)) / len(second_half))
    return Recipe(False, (Stage(rates),), beta_1=0.0, beta_2=0.9)


def lucid(steps: int = 512) -> Recipe:
    """Return Lucid's defaults: Adam at 0.05 from Fourier noise."""
    return Recipe(False, (Stage(_constant_rates(0.05, steps)),), beta_1=0.9, beta_2=0.999)


def paper() -> Recipe:
    """Return the three stages of Graziani et al. (2019), from Perlin noise."""
    stages = (
        Stage(np.full(512, 0.05)),
        Stage(np.full(1024, 0.05), total_variation=0.025),
        Stage(np.full(2048, 0.005), total_variation=0.0025),
    )
    return Recipe(True, stages, beta_1=0.9, beta_2=0.999)


def named(name: str, *, steps: int = 128) -> Recipe:
    """Return a recipe by its name.

    Parameters
    ----------
    name : str
        ``fast``, ``lucid`` or ``paper``.
    steps : int
        Number of steps of `fast` and `lucid`; `paper` has its own.

    Returns
    -------
    Recipe
    """
    recipes = {"fast": lambda: fast(steps), "lucid": lambda: lucid(steps), "paper": paper}
    if name not in recipes:
        raise ValueError(f"recipe is {name!r}; expected {', '.join(recipes)}.")
    return recipes[name]()


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
        Networks by name; those of one architecture share the graph of a layer.
    channels : mapping of str to sequence of int
        Channel numbers, by layer.
    recipe : Recipe, optional
        Schedule of the ascent; by default `fast`.
    size, batch_size : int
        Height and width of the images in pixels, and largest number of images in a step.
    seed : int
        Seed of the first image of each layer; the image at index i has ``seed + i``.
    dtype : str
        Precision of the network, ``float32`` or ``bfloat16``.

    Returns
    -------
    dict of str to dict of str to array, (N, size, size, 3), float32 in [0, 1]
        By network and layer, in the order of the layer's channels.
    """
    recipe = recipe or fast()
    move = transform.compose(transform.standard())
    options = {"batch_size": batch_size, "dtype": dtype}
    rendered = {name: {} for name in models}
    batches = sum(-(-len(numbers) // batch_size) for numbers in channels.values())
    with progress_bar(total=batches * len(models) * recipe.steps, unit="step") as bar:
        for layer, numbers in channels.items():
            ascent = None
            targets = [[recipe.objective(layer, n, s) for n in numbers] for s in recipe.stages]
            for name, model in models.items():
                bar.set_description(f"{layer}, {name}")
                images = recipe.start(size, len(numbers), seed)
                if ascent is None or not ascent.load(model):
                    ascent = Ascent(model, targets[0], images, move, recipe.adam(), **options)
                for stage, target in zip(recipe.stages, targets, strict=True):
                    thresholds = [len(stage.rates)]
                    schedule = {"seed": seed, "rates": stage.rates, "tick": bar.update}
                    ascent.run(target, images, thresholds, **schedule)
                rendered[name][layer] = images().numpy()
    return rendered


def _constant_rates(rate: float, steps: int) -> np.ndarray:
    if steps < 1 or steps != int(steps):
        raise ValueError(f"steps is {steps}; expected a whole number from 1.")
    return np.full(steps, rate)
