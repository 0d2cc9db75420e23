"""Named optimisation schedules, and the channels of several networks rendered by them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from utils.cluster import map_chunks
from utils.networks import Model
from utils.optvis import objectives, transform
from utils.optvis.crops import Crops
from utils.optvis.maco import imagenet_spectrum, phase_image
from utils.optvis.param import Image, image, perlin
from utils.optvis.render import BATCH_SIZE, Ascent
from utils.progress import progress_bar

CHANNELS = 4 * BATCH_SIZE  # of a layer, in a chunk: a graph is traced for each


@dataclass(frozen=True)
class Recipe:
    """A start and the stages that follow, each with a fresh state of Adam."""

    rates: tuple[np.ndarray, ...]  # learning rate of each step, by stage
    total_variation: tuple[float, ...] = ()  # its weight in the objective, subtracted, by stage
    beta_1: float = 0.9  # decay rates of Adam's moments
    beta_2: float = 0.999
    from_perlin: bool = False  # whether to start from Perlin noise, not from Fourier noise
    spectrum: np.ndarray | None = None  # magnitudes that are kept, so that only phases change
    crops: Crops | None = None  # what the network sees, by default the moved image
    nesterov: bool = False  # whether Adam takes Nesterov's steps

    def start(self, count: int, *, size: int, seed: int = 0) -> Image:
        """Make the images from which an ascent starts; image i has the seed ``seed + i``."""
        if self.spectrum is not None:
            return phase_image(size, count, spectrum=self.spectrum, seed=seed)
        init = perlin(size, count, seed=seed) if self.from_perlin else None
        return image(size, batch=count, init=init, seed=seed)

    def move(self) -> transform.Transform | Crops:
        """Make what the network sees of an image."""
        return self.crops or transform.compose(transform.standard())

    def optimizer(self) -> keras.optimizers.Optimizer:
        """Make an optimiser, with an epsilon below the gradients of random networks."""
        moments = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": 1e-12}
        return (keras.optimizers.Nadam if self.nesterov else keras.optimizers.Adam)(**moments)


def maco(
    spectrum: np.ndarray | None = None, *, steps: int = 256, crops: Crops | None = None
) -> Recipe:
    """Return the recipe of Fel et al. (2023): crops, and a given spectrum, else ImageNet's."""
    spectrum = imagenet_spectrum() if spectrum is None else spectrum
    rates = (np.full(steps, 1.0),)
    return Recipe(rates, spectrum=spectrum, crops=crops or Crops(), nesterov=True)


def fast(steps: int = 128) -> Recipe:
    """Return few and large steps, which decrease over the second half, without momentum.

    Random movements change gradients at each step: momentum mostly adds outdated directions.
    """
    rates = np.full(steps, 0.1)
    second_half = rates[steps // 2 :]
    second_half *= 0.6 + 0.4 * np.cos(np.pi * np.arange(len(second_half)) / len(second_half))
    return Recipe((rates,), beta_1=0.0, beta_2=0.9)


def named(name: str, *, steps: int = 128) -> Recipe:
    """Return a recipe by its name.

    Parameters
    ----------
    name : str
        `fast`; ``lucid``, Lucid's defaults; ``paper``, the three stages of Graziani et al. (2019)
        from Perlin noise; or `maco`.
    steps : int
        Number of steps, except of ``paper``.

    Returns
    -------
    Recipe
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1.")
    lucid = Recipe((np.full(steps, 0.05),))
    rates = (np.full(512, 0.05), np.full(1024, 0.05), np.full(2048, 0.005))
    paper = Recipe(rates, total_variation=(0, 0.025, 0.0025), from_perlin=True)
    if name == "maco":  # which fetches a spectrum
        return maco(steps=steps)
    recipes = {"fast": fast(steps), "lucid": lucid, "paper": paper}
    if name not in recipes:
        raise ValueError(f"recipe is {name!r}; expected {', '.join([*recipes, 'maco'])}.")
    return recipes[name]


def by_depth(name: str, layers: Sequence[str], *, steps: int = 128) -> dict[str, Recipe]:
    """Return a recipe for each layer: the first half of the layers takes half of the steps.

    Parameters
    ----------
    name, steps
        As in `named`.
    layers : sequence of str
        From input to output.

    Returns
    -------
    dict of str to Recipe
    """
    fewer = named(name, steps=-(-steps // 2))
    all_steps = named(name, steps=steps)
    half = len(layers) // 2
    return {layer: fewer if place < half else all_steps for place, layer in enumerate(layers)}


def render_channels(
    models: Mapping[str, Model],
    channels: Mapping[str, Sequence[int]],
    recipe: Recipe | Mapping[str, Recipe],
    *,
    size: int = 128,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    last_relus: str = "redirected",
    dtype: str = "float32",
    fewer: Mapping[str, int] | None = None,
    over: Callable[..., Iterable[tuple[str, dict]]] = map_chunks,
) -> dict[str, dict[str, np.ndarray]]:
    """Render the same channels of several networks, from the same start.

    Parameters
    ----------
    models : mapping of str to Model
        Networks by name; those of one architecture share the graph of a layer.
    channels : mapping of str to sequence of int
        Channel numbers, by layer.
    recipe : Recipe, or mapping of str to Recipe
        For all layers, or by layer.
    size, seed : int
        Side of the images in pixels; seed of each layer's first image (image i has ``seed + i``).
    batch_size : int
        Largest number of images in a step.
    last_relus, dtype : str
        Treatment of the last ReLUs (``redirected``, ``linear`` or ``kept``), and precision of the
        network (``float32`` or ``bfloat16``), as of `preparation.prepare_network`.
    fewer : mapping of str to int, optional
        Networks of which only so many channels per layer are rendered, the first. What is saved is
        whole batches.
    over : callable
        How chunks of a layer's channels are computed: `map_chunks`, here or by workers, or
        `Run.map_chunks`, which keeps them.

    Returns
    -------
    dict of str to dict of str to array, (N, size, size, 3), float32 in [0, 1]
        By network and layer, in the order of the layer's channels.
    """
    options = {"batch_size": batch_size, "last_relus": last_relus, "dtype": dtype}
    chunks = []
    for layer, numbers in channels.items():
        wanted = {name: (fewer or {}).get(name, len(numbers)) for name in models}
        for start in range(0, len(numbers), CHANNELS):
            some = tuple(numbers[start : start + CHANNELS])
            counts = {name: min(max(n - start, 0), len(some)) for name, n in wanted.items()}
            schedule = recipe if isinstance(recipe, Recipe) else recipe[layer]
            chunks.append((f"{layer} {start}", (schedule, layer, some, counts, seed + start)))
    rendered = {name: {layer: [] for layer in channels} for name in models}
    bar = {"desc": "channels", "total": len(chunks), "disable": len(chunks) < 2}
    shared = (models, size, options)
    for name, images in over(render_chunk, chunks, shared=shared, **bar):
        for network, its_images in images.items():
            rendered[network][name.rsplit(" ", 1)[0]].append(its_images)
    return {
        name: {layer: np.concatenate(images) for layer, images in layers.items()}
        for name, layers in rendered.items()
    }


def render_chunk(
    models: Mapping[str, Model],
    size: int,
    options: Mapping[str, str | int],
    recipe: Recipe,
    layer: str,
    numbers: Sequence[int],
    counts: Mapping[str, int],
    seed: int,
) -> dict[str, np.ndarray]:
    """Render channels of one layer, the first of them by the count of each network.

    Networks of one architecture share its graph.
    """
    values = [objectives.channel(layer, number) for number in numbers]
    variations = [weight * objectives.total_variation() for weight in recipe.total_variation]
    targets = [[value - term for value in values] for term in variations] or [values]
    ascent, rendered = None, {}
    batches = sum(-(-count // options["batch_size"]) for count in counts.values())
    total = batches * sum(map(len, recipe.rates))
    with progress_bar(total=total, unit="step", leave=False) as bar:
        for name, model in models.items():
            if not (count := counts[name]):
                continue
            bar.set_description(f"{layer}, {name}")
            images = recipe.start(count, size=size, seed=seed)
            if ascent is None or not ascent.load(model):
                how = recipe.move(), recipe.optimizer()
                ascent = Ascent(model, targets[0][:count], images, *how, **options)
            for rates, target in zip(recipe.rates, targets, strict=True):
                schedule = {"seed": seed, "rates": rates, "tick": bar.update}
                ascent.run(target[:count], images, [len(rates)], **schedule)
            rendered[name] = images().numpy()
    return rendered


def render_directions(
    model: Model,
    layer: str,
    vectors: np.ndarray,
    recipe: Recipe,
    *,
    size: int = 128,
    power: float = 2.0,
    seed: int = 0,
) -> np.ndarray:
    """Render directions of a layer, such as means of activations or concepts.

    Parameters
    ----------
    model : Model
    layer : str
    vectors : array, (N, C), float32
    recipe : Recipe
    size : int
        Side of the images in pixels.
    power : float
        Power of the cosine, which keeps images from activating what else is strong.
    seed : int
        Seed of the first image (image i has ``seed + i``).

    Returns
    -------
    array, (N, size, size, 3), float32 in [0, 1]
    """
    targets = [objectives.direction(layer, vector, power) for vector in vectors]
    images = recipe.start(len(targets), size=size, seed=seed)
    ascent = Ascent(model, targets, images, recipe.move(), recipe.optimizer())
    total = len(ascent.batches) * sum(map(len, recipe.rates))
    with progress_bar(total=total, desc=f"directions of {layer}", unit="step", leave=False) as bar:
        for rates in recipe.rates:
            schedule = {"seed": seed, "rates": rates, "tick": bar.update}
            ascent.run(targets, images, [len(rates)], **schedule)
    return images().numpy()
