import errno
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import balanced_accuracy_score, log_loss

from utils.networks import finetuning, linear_probe
from utils.networks.finetuning import LOG, finetune

OPTIONS = {"epochs": 4, "learning_rate": 0.02, "batch_size": 16}


def assert_same_weights(one, other):
    for first, second in zip(one.network.variables, other.network.variables, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture
def probe(tiny_model, colored_patches):
    return linear_probe(tiny_model, colored_patches)


def test_finetuning_learns_and_repeats(tiny_classifier, colored_patches):
    train, test = colored_patches.folds(4)[0]
    before = tiny_classifier.network.get_weights()
    options = {**OPTIONS, "epochs": 12, "label_smoothing": 0}
    results = [finetune(tiny_classifier, train, test, seed=s, **options) for s in (0, 0, 1)]
    (one, epochs), (again, _), (other, _) = results
    assert_same_weights(one, again)
    assert (one.network.get_weights()[0] != other.network.get_weights()[0]).any()
    for first, second in zip(before, tiny_classifier.network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    probability = one.predict(test.images)
    assert balanced_accuracy_score(test.labels, probability > 0.5) > 0.9
    last = epochs.iloc[-1]
    assert len(epochs) == 12 and last["loss"] < epochs["loss"].iloc[0]
    # What Keras measures with class weights, here of classes of equal size, is what it is called.
    assert last["val_loss"] == pytest.approx(log_loss(test.labels, probability), abs=1e-5)
    expected = balanced_accuracy_score(test.labels, probability >= 0.5)
    assert last["val_balanced_accuracy"] == pytest.approx(expected, abs=1e-6)


def test_statistics_stay_and_scales_are_trained(tiny_backbone, tiny_classifier, colored_patches):
    image = keras.Input((None, None, 3))
    norm = keras.layers.BatchNormalization(name="norm")
    network = keras.Model(image, tiny_classifier.network(norm(image)))
    norm.set_weights([np.ones(3), np.zeros(3), np.full(3, 0.2), np.full(3, 0.7)])
    model = replace(tiny_classifier, network=network).copy()
    trained = finetune(model, colored_patches, **OPTIONS)[0].network.get_layer("norm")
    gamma, beta, mean, variance = trained.get_weights()
    np.testing.assert_array_equal(mean, np.float32([0.2] * 3))
    np.testing.assert_array_equal(variance, np.float32([0.7] * 3))
    assert (gamma != 1).all() and (beta != 0).all()


def test_weights_are_averaged_over_steps(tiny_classifier, colored_patches, monkeypatch):
    steps = []

    class Spy(finetuning._Progress):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            steps.append([np.array(v) for v in self.model.network.trainable_variables])

    monkeypatch.setattr(finetuning, "_Progress", Spy)
    train, test = colored_patches.folds(4)[0]
    average = [np.array(v) for v in tiny_classifier.network.trainable_variables]
    options = {**OPTIONS, "averaging": 0.5}
    trained, watched = finetune(tiny_classifier, train, test, **options)
    for values in steps:
        average = [(a + v) / 2 for a, v in zip(average, values, strict=True)]
    for variable, expected in zip(trained.network.trainable_variables, average, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-5)
    measured = balanced_accuracy_score(test.labels, trained.predict(test.images) >= 0.5)
    assert watched["val_balanced_accuracy"].iloc[-1] == pytest.approx(measured, abs=1e-6)
    assert_same_weights(trained, finetune(tiny_classifier, train, **options)[0])
    last, _ = finetune(tiny_classifier, train, **{**options, "averaging": 0})
    for variable, value in zip(last.network.trainable_variables, steps[-1], strict=True):
        np.testing.assert_array_equal(variable, value)


def test_the_rate_rises_and_falls():
    rate = finetuning._rate(100, 0.5, warmup=0.1, final_rate=0.2)
    values = [float(rate(step)) for step in range(101)]
    assert values[0] == pytest.approx(0.05) and values[100] == pytest.approx(0.1)
    assert np.argmax(values) == 10 and values[10] == pytest.approx(0.5)
    assert values[55] == pytest.approx(0.3)  # half way down a cosine


class Kill(keras.callbacks.Callback):
    """Stops the training in the middle of an epoch, behind its state or before."""

    def __init__(self, epoch, place):
        super().__init__()
        self.epoch, self.place, self.now = epoch, place, -1

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.place == "batch" and self.now == self.epoch and batch == 1:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if self.place == "log" and epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["batch", "log"])
def test_a_killed_run_resumes_and_ends_the_same(
    tiny_classifier, colored_patches, tmp_path, monkeypatch, place
):
    whole, epochs = finetune(tiny_classifier, colored_patches, colored_patches, **OPTIONS)
    fit, kill = keras.Model.fit, Kill(2, place)

    def interrupted(self, *args, callbacks, **kwargs):
        order = [*callbacks[:2], kill, *callbacks[2:]]  # behind the log, before the state
        return fit(self, *args, callbacks=order, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", interrupted)
    options = {**OPTIONS, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        finetune(tiny_classifier, colored_patches, colored_patches, **options)
    assert [path.name for path in tmp_path.glob("epoch_*")] == ["epoch_0002.npz"]
    monkeypatch.setattr(keras.Model, "fit", fit)
    resumed, log = finetune(tiny_classifier, colored_patches, colored_patches, **options)
    assert_same_weights(resumed, whole)
    pd.testing.assert_frame_equal(log, epochs)
    assert log["epoch"].tolist() == [0, 1, 2, 3] and (tmp_path / LOG).exists()


def test_patience_stops_early_and_takes_the_best_epoch(tiny_classifier, colored_patches):
    train, validation = colored_patches.folds(4)[0]
    options = {"epochs": 30, "learning_rate": 0.2, "batch_size": 16, "patience": 1}
    options["label_smoothing"] = 0
    model, epochs = finetune(tiny_classifier, train, validation, **options)
    assert len(epochs) < 30
    reached = log_loss(validation.labels, model.predict(validation.images).astype(float))
    assert reached == pytest.approx(epochs["val_loss"].min(), abs=1e-6)
    with pytest.raises(ValueError, match="patience is 2, but there are no patches"):
        finetune(tiny_classifier, train, patience=2)


def test_unusable_patches_and_rates_are_refused(tiny_classifier, colored_patches):
    with pytest.raises(ValueError, match=r"has the labels \[0\]; expected square"):
        finetune(tiny_classifier, colored_patches.select(colored_patches.labels == 0))
    third = replace(colored_patches, labels=colored_patches.labels + 1)
    with pytest.raises(ValueError, match=r"labels \[1, 2\]"):
        finetune(tiny_classifier, third)
    wide = replace(colored_patches, images=colored_patches.images[:, :12])
    with pytest.raises(ValueError, match="square"):
        finetune(tiny_classifier, wide)
    options = {**OPTIONS, "learning_rate": 1e38}
    with pytest.raises(FloatingPointError, match="is (nan|inf) at step .* rate of .*give a low"):
        finetune(tiny_classifier, colored_patches, **options)


def test_two_devices(tiny_classifier, colored_patches):
    """Run itself in a process with two logical devices, where it compares the losses."""
    devices = tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        script = Path(__file__).with_name("mirrored.py")
        process = subprocess.run([sys.executable, script], capture_output=True, text=True)
        assert process.returncode == 0 and "1 passed" in process.stdout, process.stdout[-3000:]
        return
    losses = []
    for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(devices[:2])):
        with strategy.scope():
            _, epochs = finetune(tiny_classifier, colored_patches, **OPTIONS)
        losses.append(epochs["loss"])
    np.testing.assert_allclose(*losses, atol=1e-5)


def test_several_gpus_are_all_taken(monkeypatch):
    assert not isinstance(finetuning._strategy(), tf.distribute.MirroredStrategy)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0", "GPU:1"])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: "mirrored")
    assert finetuning._strategy() == "mirrored"
    with tf.distribute.OneDeviceStrategy("/CPU:0").scope():
        assert finetuning._strategy() is tf.distribute.get_strategy()


def test_a_full_disk_is_named(tiny_classifier, colored_patches, tmp_path, monkeypatch):
    def full(*arguments, **values):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"epoch_0001.npz cannot be written .*free some space"):
        finetune(tiny_classifier, colored_patches, folder=tmp_path, **OPTIONS)
    assert not list(tmp_path.glob("*.npz"))
