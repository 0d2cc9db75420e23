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

    def adam(self) -> keras.optimizers.Adam:
        """Make an optimizer whose steps do not depend on how large activations are.

        Those of a random network are so small that gradients come near the default epsilon.
        """
        return keras.optimizers.Adam(beta_1=self.beta_1, beta_2=self.beta_2, epsilon=1e-12)


def fast(steps: int = 128) -> Recipe:
    """Return few and large steps without momentum, which decrease over the second half.

    Random movements change the gradient of a Fourier coefficient from step to step, so that
    momentum mostly adds outdated directions.
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
    """Return the three stages of Graziani et al. (2019), from Perlin noise.

    512 steps; 1,024 with total variation at 0.025; 2,048 with 0.0025 at a tenth of the rate.
    """
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
        Steps of `fast` and `lucid`; `paper` has its own.

    Returns
    -------
    Recipe
    """
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
        Networks by name; those of one architecture share the graph of a layer.
    channels : mapping of str to sequence of int
        Channel numbers, by layer.
    recipe : Recipe, optional
        By default `fast`.
    size : int
        Height and width in pixels.
    seed : int
        Seed of the first image of each layer, as in `render.ascend`.
    batch_size, dtype
        As in `render.ascend`.

    Returns
    -------
    dict of str to dict of str to array, (N, size, size, 3), float32 in [0, 1]
        By network and layer, in the order of the layer's channels.
    """
    recipe = recipe or fast()
    move = transform.compose(transform.standard())
    rendered = {name: {} for name in models}
    batches = sum(-(-len(numbers) // batch_size) for numbers in channels.values())
    with progress_bar(total=batches * len(models) * recipe.steps, unit="step") as bar:
        for layer, numbers in channels.items():
            ascent = None
            targets = [
                [recipe.objective(layer, n, stage) for n in numbers] for stage in recipe.stages
            ]
            for name, model in models.items():
                bar.set_description(f"{layer}, {name}")
                images = recipe.start(size, len(numbers), seed)
                if ascent is None or not ascent.load(model):
                    options = {"batch_size": batch_size, "dtype": dtype}
                    ascent = Ascent(model, targets[0], images, move, recipe.adam(), **options)
                for stage, target in zip(recipe.stages, targets, strict=True):
                    options = {"seed": seed, "rates": stage.rates, "tick": bar.update}
                    ascent.run(target, images, [len(stage.rates)], **options)
                rendered[name][layer] = images().numpy()
    return rendered


def _check_steps(steps: int) -> None:
    if steps < 1 or steps != int(steps):
        raise ValueError(f"steps is {steps}; expected a whole number from 1.")
