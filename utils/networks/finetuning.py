"""Finetune a whole pretrained network to classify patches as tumor or normal."""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from utils.networks.heads import add_head
from utils.networks.model import Model
from utils.networks.weights import make_deterministic
from utils.patches import PatchSet, change_stains
from utils.progress import progress_bar


def finetune(
    model: Model,
    patches: PatchSet,
    *,
    epochs: int = 3,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    stain_jitter: float = 0.05,
    seed: int = 0,
) -> Model:
    """Train a copy of `model`, with a new head, on all of `patches`.

    All kernels are trained, with Adam and class weights. Batch normalisation keeps the pretrained
    statistics: so few steps would leave the moving averages far behind the weights, and the network
    that is trained is then the one that predicts.

    Parameters
    ----------
    model : Model
        Where to start from, without a head; it is left as it is.
    patches : PatchSet
        Training patches of two classes.
    epochs, batch_size : int
        Passes over the patches, and patches per step.
    learning_rate : float
        Learning rate of Adam.
    stain_jitter : float
        Deviation of the factor on, and ten times that of the shift of, each stain's density.
    seed : int
        Seed of the head, of the order of the patches and of their augmentation.

    Returns
    -------
    Model
        With one sigmoid unit, and ``weights="finetuned"``.
    """
    _check_training_patches(model, patches)
    make_deterministic(seed)
    network = add_head(model.copy().network)
    trained = replace(model, network=network, weights="finetuned", origin="", sha256="")
    step = _training_step(trained, np.bincount(patches.labels), learning_rate)
    generator = np.random.default_rng(seed)
    starts = range(0, len(patches), batch_size)
    with progress_bar(total=epochs * len(starts), desc=f"finetune {model.backbone.title}") as bar:
        for _ in range(epochs):
            order = generator.permutation(len(patches))
            for start in starts:
                chosen = order[start : start + batch_size]
                images = augment(patches.images[chosen], generator, stain_jitter=stain_jitter)
                loss = step(model.preprocess(images), patches.labels[chosen]).numpy()
                if not np.isfinite(loss):
                    raise ValueError(
                        f"the loss is {loss} at step {bar.n}: lower learning_rate={learning_rate}."
                    )
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update()
    return trained


def _check_training_patches(model: Model, patches: PatchSet) -> None:
    counts = np.bincount(patches.labels, minlength=2)
    if len(counts) != 2 or counts.min() == 0:
        raise ValueError(
            f"patches have {counts.tolist()} of each class; expected some of normal and tumor."
        )
    model.check_images(patches.images)
    if patches.images.shape[1] != patches.images.shape[2]:
        raise ValueError(
            f"patches are {patches.images.shape[1]} x {patches.images.shape[2]} pixels; finetuning "
            "turns them by right angles: read square ones."
        )


def _training_step(model: Model, counts: np.ndarray, learning_rate: float) -> Callable:
    """Make the function that updates all weights with a batch, and returns its loss."""
    variables = model.network.trainable_variables
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(variables)
    network = model.submodel([], logit=True)
    class_weights = (counts.sum() / (2 * counts)).astype(np.float32)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None,), tf.int64)]
    )
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = network(images, training=False)["logit"]
            losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
            loss = tf.reduce_mean(tf.gather(class_weights, labels) * losses)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step


def augment(
    images: np.ndarray, generator: np.random.Generator, *, stain_jitter: float = 0.05
) -> np.ndarray:
    """Turn, mirror and stain each patch a little differently.

    Right-angle rotations and flips have no preferred one in histology. The stains' densities
    (Ruifrok and Johnston 2001, by scikit-image) are scaled and shifted a little (Tellez 2018).

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
        Square RGB patches.

    Returns
    -------
    array, (N, H, W, 3), uint8
    """
    turned = []
    for image in images:
        image = np.rot90(image, generator.integers(4))
        turned.append(image[:, ::-1] if generator.integers(2) else image)
    if stain_jitter == 0:
        return np.stack(turned)
    shape = (len(images), 1, 1, 3)
    factor = generator.normal(1, stain_jitter, shape)
    # Densities lie within a few tenths, so the shift is smaller than the factor's.
    shift = generator.normal(0, stain_jitter / 10, shape)
    return change_stains(np.stack(turned), factor, shift)
