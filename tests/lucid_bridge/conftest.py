"""The genuine Lucid beside TensorFlow 2, and Keras networks in it."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.config import disable_op_determinism

from utils.lucid_bridge import import_lucid, to_lucid

tf1 = tf.compat.v1
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def without_op_determinism():
    """Unseeded Lucid draws unseeded random numbers, which TensorFlow then refuses."""
    disable_op_determinism()


@pytest.fixture(scope="module")
def optvis():
    return import_lucid().optvis


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((2, 96, 96, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(8, 3, activation="relu", name="first"),
            layers.BatchNormalization(moving_mean_initializer="ones", name="norm"),
            layers.Dropout(0.9),
            layers.Conv2D(8, 3, activation="relu", name="second"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, name="logits"),
        ]
    )


@pytest.fixture(scope="module")
def model(network):
    model = to_lucid(network)
    model.labels = list("abcde")
    return model


@pytest.fixture
def run_python():
    def run_python(code):
        result = subprocess.run(
            [sys.executable, "-c", code],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    return run_python


@pytest.fixture
def maximise():
    def maximise(optvis, model, objective, param_f=None, **options):
        """Take one step of optimisation; return the loss and the images before and after it."""
        with tf1.Graph().as_default(), tf1.Session() as session:
            param_f = param_f or (lambda: optvis.param.image(32, batch=2))
            tensors = optvis.render.make_vis_T(model, objective, param_f, **options)
            session.run(tf1.global_variables_initializer())
            before = session.run(tensors("input"))
            loss, _ = session.run([tensors("loss"), tensors("vis_op")])
            return loss, before, session.run(tensors("input"))

    return maximise
