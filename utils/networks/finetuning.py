"""Finetuning by Keras' `fit`: all weights of a network under a head that is fitted already.

A random head would distort the features before it is of any use (Kumar et al. 2022).
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from utils.files import whole_file
from utils.networks.batches import Batches
from utils.networks.checkpoints import tumor_logit
from utils.networks.model import Model
from utils.patches import PatchSet
from utils.progress import progress_bar

LOG = "epochs.csv"  # measures of every epoch, in the folder of the states


def finetune(
    model: Model,
    patches: PatchSet,
    validation: PatchSet | None = None,
    *,
    epochs: int = 5,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    warmup: float = 0.3,
    final_rate: float = 1.0,
    averaging: float = 0.95,
    clip: float = 1.0,
    label_smoothing: float = 0.05,
    stain_jitter: float = 0.05,
    blank: float = 0.05,
    patience: int | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
) -> tuple[Model, pd.DataFrame]:
    """Train all weights of a copy of a classifier by Adam, with class weights.

    The learning rate rises over the first steps and falls by a cosine. The weights are averaged
    over the last steps (Izmailov et al. 2018), which on few patches holds the threshold between the
    classes better than a rate that falls to 0. The statistics of BatchNormalization stay those of
    the pretraining, gamma and beta are trained. With several GPUs, each takes a share of every
    batch.

    Parameters
    ----------
    model : Model
        Classifier, such as from `linear_probe`; it is not changed.
    patches : PatchSet
        Square training patches of both classes.
    validation : PatchSet, optional
        Patches of other groups, on which every epoch is measured.
    epochs, batch_size : int
    learning_rate, warmup, final_rate : float
        Highest learning rate, share of the steps before it, and last rate as a share of it.
    averaging : float
        Momentum of the running average of the weights; 0 takes the last weights.
    clip : float
        Largest norm of all gradients together.
    label_smoothing : float
        Share of each label that is spread over both classes, so that logits stay moderate.
    stain_jitter : float
        Deviation of the random factor on each stain's density.
    blank : float
        Share of normal patches that are replaced by a single random colour.
    patience : int, optional
        Number of epochs without a lower validation loss after which training stops, and the weights
        of the best epoch are taken, not averaged ones; by default, training takes all epochs. A
        resumed run counts anew.
    seed : int
        Seed of order and augmentation.
    folder : str or Path, optional
        Folder of the state after each epoch, from which an interrupted run resumes.

    Returns
    -------
    Model
    DataFrame, one row per epoch
        ``epoch``, ``loss``, ``balanced_accuracy``, and both as ``val_...`` on the validation.
    """
    check_trainable(model, patches)
    if patience and validation is None:
        raise ValueError(f"patience is {patience}, but there are no patches for validation.")
    make_deterministic(seed)
    with ExitStack() as stack:
        folder = Path(folder or stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(_strategy().scope())
        trained = replace(model.copy(), weights="finetuned", origin="", sha256="")
        steps = epochs * -(-len(patches) // batch_size)
        averaging = 0.0 if patience else averaging
        rate = _rate(steps, learning_rate, warmup, final_rate)
        classifier = _compile(trained, _adam(rate, averaging, clip), label_smoothing)
        states = _States(folder, [*trained.network.variables, *classifier.optimizer.variables])
        begun = states.restore()
        data = Batches(patches, batch_size, seed=seed, stain_jitter=stain_jitter, blank=blank)
        callbacks = [
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: data.start(epoch)),
            keras.callbacks.CSVLogger(folder / LOG, append=begun > 0),
            states,
            _Progress(f"finetune {model.backbone.title}", steps, begun * len(data)),
            *([_TestAverages()] if averaging else []),
        ]
        if patience:
            callbacks.append(
                keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
            )
        held_out = Batches(validation, batch_size) if validation is not None else None
        options = {"epochs": epochs, "initial_epoch": begun, "shuffle": False, "verbose": 0}
        classifier.fit(data, validation_data=held_out, callbacks=callbacks, **options)
        return trained, pd.read_csv(folder / LOG)


def check_trainable(model: Model, patches: PatchSet) -> None:
    """Raise ValueError unless a network can be trained on these patches."""
    model.check_images(patches.images)
    height, width = patches.images.shape[1:3]
    labels = set(np.unique(patches.labels).tolist())
    if labels != {0, 1} or height != width:
        raise ValueError(
            f"{patches} has the labels {sorted(labels)}; expected square patches, some normal (0) "
            "and some tumor (1)."
        )


def make_deterministic(seed: int = 0) -> None:
    """Seed Python, NumPy and TensorFlow, and let TensorFlow use deterministic kernels only."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _strategy() -> tf.distribute.Strategy:
    """Take all GPUs if there are several, and no strategy has been chosen by the caller."""
    if tf.distribute.has_strategy() or len(tf.config.list_logical_devices("GPU")) < 2:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy()


class Classifier(keras.Model):
    """A network that `fit` trains in inference mode, which keeps BatchNormalization's statistics.

    `fit` would pass ``training=True`` through a functional model to every layer.
    """

    def __init__(self, model: Model):
        super().__init__()
        self._model, self.network = model, model.network  # tracks the weights
        logit = keras.ops.expand_dims(tumor_logit(model.network), 1)
        self.logit = keras.Model(model.network.inputs[0], logit)

    def call(self, images, training=None):
        """Compute the log-odds of tumor, ``(n, 1)``, of RGB images in [0, 255]."""
        preprocessed = self._model.preprocess(tf.cast(images, tf.float32))
        return self.logit(preprocessed, training=False)


def _rate(
    steps: int, highest: float, warmup: float, final_rate: float
) -> keras.optimizers.schedules.CosineDecay:
    warmup_steps = max(1, round(warmup * steps))
    return keras.optimizers.schedules.CosineDecay(
        highest / warmup_steps,
        max(1, steps - warmup_steps),
        alpha=final_rate,
        warmup_target=highest,
        warmup_steps=warmup_steps,
    )


def _adam(
    rate: keras.optimizers.schedules.CosineDecay, averaging: float, clip: float
) -> keras.Optimizer:
    average = {"use_ema": True, "ema_momentum": averaging} if averaging else {}
    return keras.optimizers.Adam(rate, global_clipnorm=clip, **average)


def _compile(model: Model, optimizer: keras.Optimizer, label_smoothing: float) -> Classifier:
    classifier = Classifier(model)
    optimizer.build(classifier.trainable_variables)
    classifier.compile(
        optimizer,
        loss=keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing),
        # With the classes' weights, accuracy is balanced accuracy.
        weighted_metrics=[keras.metrics.BinaryAccuracy("balanced_accuracy", threshold=0.0)],
        jit_compile=False,
    )
    return classifier


class _States(keras.callbacks.Callback):
    """Keeps the variables after each epoch in a file of its own, until the next one is whole."""

    def __init__(self, folder: Path, variables: Sequence[keras.Variable]):
        super().__init__()
        self._folder, self._variables = folder, variables

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("epoch_*.npz"))

    def restore(self) -> int:
        """Set the variables to the last state; return the number of epochs that are done."""
        if not (files := self._files()):
            return 0
        done = int(files[-1].stem.removeprefix("epoch_"))
        with np.load(files[-1]) as values:
            for index, variable in enumerate(self._variables):
                variable.assign(values[f"{index}"])
        log = pd.read_csv(self._folder / LOG)  # may have an epoch whose state was not written
        with whole_file(self._folder / LOG) as scratch:
            log[log["epoch"] < done].to_csv(scratch, index=False)
        return done

    def on_epoch_end(self, epoch, logs=None):
        """Write the state, and remove the one before."""
        files = self._files()
        values = {f"{i}": np.asarray(variable) for i, variable in enumerate(self._variables)}
        with whole_file(self._folder / f"epoch_{epoch + 1:04d}.npz") as scratch:
            np.savez(scratch, **values)
        for file in files:
            os.remove(file)


class _TestAverages(keras.callbacks.Callback):
    """Tests the averaged weights; Keras' `SwapEMAWeights` would round the trained ones."""

    def on_test_begin(self, logs=None):
        """Put the averages in the place of the weights."""
        self._kept = [np.asarray(variable) for variable in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_end(self, logs=None):
        """Put the weights back."""
        for variable, value in zip(self.model.trainable_variables, self._kept, strict=True):
            variable.assign(value)


class _Progress(keras.callbacks.Callback):
    """Shows a progress bar, and stops at a loss that is no number."""

    def __init__(self, description: str, steps: int, begun: int):
        super().__init__()
        self._bar = progress_bar(total=steps, initial=begun, desc=description, unit="step")
        self._shown = {}

    def on_train_batch_end(self, batch, logs=None):
        """Show the mean loss of the epoch so far."""
        self._bar.update()
        if not np.isfinite(logs["loss"]):
            rate = float(self.model.optimizer.learning_rate)
            raise FloatingPointError(
                f"the loss is {logs['loss']} at step {self._bar.n}, at a learning rate of "
                f"{rate:.2g}: give a lower learning_rate."
            )
        self._bar.set_postfix({**self._shown, "loss": f"{logs['loss']:.3f}"})

    def on_epoch_end(self, epoch, logs=None):
        """Show the balanced accuracy on the validation patches."""
        if "val_balanced_accuracy" in logs:
            self._shown = {"held-out": f"{logs['val_balanced_accuracy']:.3f}"}

    def on_train_end(self, logs=None):
        """Close the bar."""
        self._bar.close()
