"""What in a real patch excites a channel, made stronger: feature accentuation.

After Hamblin et al., "Feature Accentuation: Revealing 'What' Features Respond to in Natural
Images", 2024 (arXiv 2402.10039). The image starts from the patch: its phases are free, its
magnitudes may only shrink, and it stays near the patch in a chosen layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from utils.networks import Model, layer_features
from utils.optvis import transform
from utils.optvis.crops import Crops
from utils.optvis.param import COLOR_MATRIX, Image, decorrelated_logits
from utils.optvis.preparation import prepare_network
from utils.patches import to_uint8
from utils.progress import progress_bar

START = 5.0  # log-odds of the share of each magnitude that is kept


@dataclass(frozen=True)
class Accentuation:
    """Patches in which a channel's feature was made stronger."""

    images: np.ndarray  # (N, H, W, 3), float32 in [0, 1]
    before: np.ndarray  # (N,), mean activation of the channel on the patch
    after: np.ndarray  # (N,), on the image
    steps: np.ndarray  # (N,), steps until the target, or all


def accentuated_image(patches: np.ndarray) -> Image:
    """Start images from patches, ``(N, H, W, 3)`` uint8, with free phases and shrinking magnitudes.

    The first variable has the phases, the second the log-odds of the shares of the magnitudes.
    """
    batch, height, width = patches.shape[:3]
    spectrum = np.fft.rfft2(decorrelated_logits(patches))
    magnitude = np.float32(np.abs(spectrum))
    phase = tf.Variable(np.float32(np.angle(spectrum)), name="phase")
    share = tf.Variable(np.full_like(magnitude, START), name="share")

    def render(variables: list[tf.Tensor]) -> tf.Tensor:
        angle, kept = variables
        length = magnitude * tf.sigmoid(kept)
        waves = tf.complex(length * tf.cos(angle), length * tf.sin(angle))
        planes = tf.signal.irfft2d(waves, fft_length=[height, width])
        flat = tf.reshape(planes, (-1, 3, height * width))
        colors = tf.reshape(tf.linalg.matmul(COLOR_MATRIX, flat), tf.shape(planes))
        return tf.transpose(tf.sigmoid(colors), (0, 2, 3, 1))

    return Image([phase, share], render, (height, width), batch)


def accentuate(
    model: Model,
    patches: np.ndarray,
    layer: str,
    channels: Sequence[int],
    *,
    near: str | None = None,
    weight: float = 1.0,
    target: float | Sequence[float] = np.inf,
    steps: int = 100,
    rate: float = 0.05,
    seen: transform.Transform | Crops | None = None,
    seed: int = 0,
) -> Accentuation:
    """Change patches so that a channel responds more, and the rest as little as possible.

    Ascends the channel's mean activation minus `weight` times the distance to the patch: the length
    of the difference of the activations at `near`, averaged over positions, scaled so that at the
    start the gradients of both have the same sum of absolute values.

    Parameters
    ----------
    model : Model
    patches : array, (N, H, W, 3), uint8
    layer : str
    channels : sequence of int
        A channel of the layer for each patch.
    near : str, optional
        Layer in which images stay near their patches, by default `layer`.
    weight : float
        Weight of the distance, at least 0; 1 balances it with the activation.
    target : float or sequence of float
        Mean activation at which a patch is left as it is.
    steps : int
    rate : float, of Adam
    seen : Transform or Crops, optional
        What the network sees, the same of image and patch, by default `transform.standard`.
    seed : int
        Seed of the first patch's movements (patch i has ``seed + i``).

    Returns
    -------
    Accentuation
    """
    channels, near = np.asarray(channels), near or layer
    model.check_images(patches)
    model.check_spatial([layer, near])
    count = model.layer(layer).output.shape[-1]
    if channels.shape != (len(patches),) or not ((channels >= 0) & (channels < count)).all():
        raise ValueError(
            f"channels are {channels.tolist()}; expected one of {count} for each of "
            f"{len(patches)} patches."
        )
    if not weight >= 0 or steps < 1:
        raise ValueError(f"weight={weight}, steps={steps}; expected at least 0 and at least 1.")
    seen = seen or transform.compose(transform.standard())
    image = accentuated_image(patches)
    step = _compile(model, image, np.float32(patches) / 255, (layer, near), channels, seen)
    taken = _ascend(image, step, seen, seed, steps, rate, weight, np.asarray(target))
    images = image().numpy()
    before, after = (
        layer_features(model, pixels, layers=[layer])[layer][np.arange(len(patches)), channels]
        for pixels in (patches, to_uint8(images))
    )
    return Accentuation(images, before, after, taken)


def _compile(
    model: Model,
    image: Image,
    patches: np.ndarray,
    layers: tuple[str, str],
    channels: np.ndarray,
    seen: transform.Transform | Crops,
) -> Callable:
    """Make the function from draws to activations, (N,), and the gradients of both terms."""
    layer, near = layers
    network = prepare_network(model, list(dict.fromkeys(layers)))
    black, white = model.preprocess(np.float32([[0, 0, 0], [255, 255, 255]]))
    numbers = np.repeat(channels, seen.count)

    def by_image(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.reshape(values, (image.batch, -1)), axis=1)

    @tf.function
    def gradients(*draws: tf.Tensor):
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch(image.variables)
            both = tf.concat([image.render(image.variables), patches], axis=0)
            moved = seen.apply(both, *(tf.concat([draw, draw], axis=0) for draw in draws))
            activations = network(moved * (white - black) + black, training=False)
            of_images = tf.split(tf.cast(activations[layer], tf.float32), 2)[0]
            chosen = tf.gather(of_images, numbers, axis=-1, batch_dims=1)
            value = by_image(tf.reduce_mean(chosen, axis=(1, 2)))
            one, other = tf.split(tf.cast(activations[near], tf.float32), 2)
            lengths = tf.sqrt(tf.reduce_sum(tf.square(one - other), axis=-1) + 1e-12)
            distance = by_image(tf.reduce_mean(lengths, axis=(1, 2)))
        return [value, *(tape.gradient(term, image.variables) for term in (value, distance))]

    return gradients


def _ascend(
    image: Image,
    gradients: Callable,
    seen: transform.Transform | Crops,
    seed: int,
    steps: int,
    rate: float,
    weight: float,
    target: np.ndarray,
) -> np.ndarray:
    """Take the steps; return how many each image took until its target."""
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(image.variables)
    seeds, balance = seed + np.arange(image.batch), None
    taken = np.full(image.batch, steps)
    for number in progress_bar(range(1, steps + 1), desc="accentuate", unit="step", leave=False):
        value, up, away = gradients(*map(tf.constant, seen.draw(seeds, number, steps)))
        taken = np.where((value.numpy() >= target) & (taken == steps), number - 1, taken)
        active = taken == steps
        if not active.any():
            break
        if balance is None:
            sums = [sum(tf.reduce_sum(tf.abs(g), axis=(1, 2, 3)) for g in gs) for gs in (up, away)]
            balance = (sums[0] / tf.maximum(sums[1], 1e-30))[:, None, None, None]
        values = [variable.numpy() for variable in image.variables]
        pairs = zip(up, away, strict=True)
        optimizer.apply([weight * balance * b - a for a, b in pairs], image.variables)
        for variable, old in zip(image.variables, values, strict=True):
            variable.assign(tf.where(active[:, None, None, None], variable, old))
    return taken
