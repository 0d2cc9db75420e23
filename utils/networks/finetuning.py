"""Train a whole network, or a linear head on it, to classify patches as tumor or normal."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from utils.networks.heads import add_head
from utils.networks.model import Model
from utils.networks.weights import make_deterministic
from utils.patches import PatchSet, change_stains
from utils.progress import progress_bar
from utils.statistics import steady_scaler


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
    statistics: in so few steps the moving averages could not follow the weights, and frozen
    statistics make training and prediction identical. `stain_jitter` is the deviation of the factor
    on each stain's density.
    """
    _check_classes(patches)
    model.check_images(patches.images)
    height, width = patches.images.shape[1:3]
    if height != width:
        raise ValueError(
            f"patches are {height} x {width} pixels; finetuning rotates them by right angles: read "
            "square ones."
        )
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
                batch = order[start : start + batch_size]
                images = augment(patches.images[batch], generator, stain_jitter=stain_jitter)
                loss = step(model.preprocess(images), patches.labels[batch]).numpy()
                if not np.isfinite(loss):
                    raise ValueError(
                        f"the loss is {loss} at step {bar.n}: lower learning_rate={learning_rate}."
                    )
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update()
    return trained


def _check_classes(patches: PatchSet) -> None:
    counts = np.bincount(patches.labels, minlength=2)
    if len(counts) != 2 or counts.min() == 0:
        raise ValueError(
            f"patches have {counts.tolist()} of each class; expected some of normal and tumor."
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
    """Rotate, mirror and restain square patches at random (tissue has no preferred orientation)."""
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


def linear_probe(model: Model, patches: PatchSet) -> Model:
    """Put a linear head on a network's pooled last features and train only that head.

    Logistic regression with class weights, on standardised features (see `steady_scaler`).

    Parameters
    ----------
    model : Model
        Network without a head, such as ``pretrained`` or ``random``; it is not changed.
    patches : PatchSet
        Training patches of two classes.

    Returns
    -------
    Model
        With one sigmoid unit; its other weights are those of `model`.
    """
    _check_classes(patches)
    probe = replace(model, network=add_head(model.network))
    description = f"{model.weights} under a linear head"
    pooled = probe.map(_pool, images=patches.images, description=description)
    features = np.concatenate([batch.numpy() for batch in pooled]).astype(np.float64)
    scaler = steady_scaler(features)
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(scaler.transform(features), patches.labels)
    kernel = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_ - kernel @ scaler.mean_
    probe.network.get_layer("tumor").set_weights([kernel[:, None], bias])
    head = hashlib.sha256(model.sha256.encode() + kernel.tobytes() + bias.tobytes()).hexdigest()
    return replace(
        probe,
        origin=f"{model.origin}, under a linear head fitted to {patches.name}",
        sha256=head if model.sha256 else "",
    )


def _pool(model: Model) -> Callable[[tf.Tensor], tf.Tensor]:
    pool = keras.Model(model.network.inputs[0], model.network.get_layer("pool").output)
    return lambda batch: pool(batch, training=False)
