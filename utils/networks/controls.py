"""Networks with which the finetuned one is compared: what its changes are not."""

import hashlib
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from utils.networks.model import Model
from utils.patches import PatchSet


def recalibrate(model: Model, images: np.ndarray, *, batch_size: int = 32) -> Model:
    """Re-estimate the statistics of BatchNormalization on images, in a copy of a network.

    Kernels without their statistics give activations out of all proportion, which makes a random
    network a straw man.

    Parameters
    ----------
    model : Model
    images : array, (N, H, W, 3), uint8
    batch_size : int

    Returns
    -------
    Model
    """
    changed = model.copy()
    norms = [
        layer
        for layer in changed.network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in norms]
    for number, start in enumerate(range(0, len(images), batch_size)):
        for layer in norms:  # so that the moving average is the mean over all batches
            layer.momentum = number / (number + 1)
        batch = changed.preprocess(images[start : start + batch_size])
        changed.network(tf.constant(batch), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return _derived(changed, f"{model.origin}, batch statistics of {len(images)} patches", model)


def add_noise(before: Model, after: Model, *, seed: int = 0) -> Model:
    """Change a network by Gaussian noise of the norm by which finetuning changed each variable.

    Parameters
    ----------
    before, after : Model
        Network before and after finetuning, of one backbone.
    seed : int

    Returns
    -------
    Model
        Copy of `before`, with its head if it has one.
    """
    generator = np.random.default_rng(seed)
    changed = before.copy()
    finetuned_variables = after.network.trainable_variables  # in one order, a head comes last
    for variable, finetuned in zip(
        changed.network.trainable_variables, finetuned_variables, strict=False
    ):
        norm = np.linalg.norm(np.asarray(finetuned) - np.asarray(variable))
        noise = generator.normal(size=variable.shape)
        variable.assign_add((noise * norm / np.linalg.norm(noise)).astype(np.float32))
    return _derived(changed, f"{before.origin}, with noise, seed {seed}", before, after)


def shuffle_labels(patches: PatchSet, *, seed: int = 0) -> PatchSet:
    """Permute the labels of patches: what a network learns from them is not about tissue.

    Parameters
    ----------
    patches : PatchSet
    seed : int

    Returns
    -------
    PatchSet
    """
    labels = np.random.default_rng(seed).permutation(patches.labels)
    origin = f"{patches.origin}, labels shuffled, seed {seed}"
    return replace(patches, labels=labels, name=f"{patches.name}, shuffled", origin=origin)


def _derived(model: Model, origin: str, *sources: Model) -> Model:
    """Record where a changed network comes from; its hash is that of the values."""
    digest = hashlib.sha256()
    for variable in model.network.variables:
        digest.update(np.asarray(variable).tobytes())
    known = all(source.sha256 for source in sources)
    return replace(model, origin=origin, sha256=digest.hexdigest() if known else "")
