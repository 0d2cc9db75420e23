"""Lucid 0.3.8 with the TensorFlow 1 API that TensorFlow 2 still carries.

Lucid's modules get it by an import statement of their own: nothing in ``sys.modules`` is replaced.
"""

import builtins
import ctypes.util  # noqa: F401  Lucid's OpenGL renderer uses it without importing it
import functools
import importlib
import importlib.machinery
import logging
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from utils.optvis.measures import similarity

tf1 = tf.compat.v1


def _rotate(images: tf.Tensor, angles: tf.Tensor) -> tf.Tensor:
    """Stand in for ``contrib.image.rotate``: about the centre, nearest pixel, zeros outside."""
    height, width = tf.unstack(tf.cast(tf.shape(images)[1:3] - 1, tf.float32))
    angles = tf.reshape(angles, [-1])
    cos, sin, zero = tf.cos(angles), tf.sin(angles), tf.zeros_like(angles)
    dx = (width - cos * width + sin * height) / 2
    dy = (height - sin * width - cos * height) / 2
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([cos, -sin, dx, sin, cos, dy, zero, zero], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="NEAREST",
    )


class _Slim:
    """The part of ``contrib.slim`` that Lucid's CPPN uses."""

    @contextmanager
    def arg_scope(self, _functions: Sequence[Callable], **defaults: Any) -> Iterator[None]:
        self._defaults = defaults
        yield

    def conv2d(self, inputs: tf.Tensor, num_outputs: int, **arguments: Any) -> tf.Tensor:
        arguments = self._defaults | arguments
        shape = [*arguments["kernel_size"], inputs.shape[-1], num_outputs]
        with tf1.variable_scope(None, default_name="Conv"):
            weights = tf1.get_variable("w", shape, initializer=arguments["weights_initializer"])
            biases = tf1.get_variable("b", shape[-1:], initializer=arguments["biases_initializer"])
        outputs = tf.nn.conv2d(inputs, weights, 1, "SAME") + biases
        return (arguments["activation_fn"] or tf.identity)(outputs)

    @staticmethod
    def instance_norm(inputs: tf.Tensor) -> tf.Tensor:
        shape = inputs.shape[-1:]
        with tf1.variable_scope(None, default_name="InstanceNorm"):
            beta = tf1.get_variable("beta", shape, initializer=tf1.zeros_initializer())
            gamma = tf1.get_variable("gamma", shape, initializer=tf1.ones_initializer())
        mean, variance = tf.nn.moments(inputs, [1, 2], keepdims=True)
        return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, 1e-6)


_tensorflow1 = types.ModuleType("tensorflow")
_tensorflow1.__getattr__ = functools.partial(getattr, tf1)
_image = types.SimpleNamespace(rotate=_rotate)
_tensorflow1.contrib = types.SimpleNamespace(image=_image, slim=_Slim())


def _patch_layer_names(render: types.ModuleType) -> None:
    """Let the models of `to_lucid` translate layer names, and explain those they do not have."""
    import_model = render.import_model

    def import_model_by_name(model, t_image, t_image_raw):
        tensors = import_model(model, t_image, t_image_raw)
        node_name = getattr(model, "node_name", str)
        return lambda name: tensors(node_name(name))

    render.import_model = import_model_by_name


def _patch_redirection(redirected_relu_grad: types.ModuleType) -> None:
    """Compute Lucid's gradient of ReLU in half as many operations, bit by bit the same."""

    def gradient_of_relu(op, gradient):
        x = op.inputs[0]
        negative = x < 0.0
        passed = tf1.where(negative, tf.zeros_like(gradient), gradient)
        if x.shape.rank is None or x.shape.rank < 2:
            raise ValueError(f"{op.name} has the shape {x.shape}; expected images in a batch.")
        squares = tf.reduce_sum(tf.square(passed), list(range(1, x.shape.rank)))
        at_first = tf1.train.get_or_create_global_step() <= 16
        silent = tf.logical_and(tf.equal(squares, 0.0), at_first)
        raising = tf1.where(negative, tf.minimum(gradient, 0.0), gradient)
        return tf1.where(silent, raising, passed)

    redirected_relu_grad.redirected_relu_grad = gradient_of_relu


def _patch_diversity(objectives: types.ModuleType) -> None:
    """Compute diversity in one product, since Lucid's order of pairs differs by process."""

    def mean_similarity(activations):
        one_group = tf.zeros(activations.shape[0], tf.int32)
        return tf.reduce_mean(similarity(activations, one_group))

    @objectives.wrap_objective
    def diversity(layer):
        return lambda tensors: mean_similarity(tensors(layer))

    objectives.diversity = diversity


def _patch_dead_bucket(reading: types.ModuleType) -> None:
    """Say what to do instead of downloading from Lucid's bucket, which no longer exists."""
    open_url = reading._handle_gcs_url

    def open_gcs_url(url, mode="r"):
        if url.startswith("gs://modelzoo/"):
            # Not a ValueError, on which Lucid tries again, nor a KeyError: it would try an image.
            raise FileNotFoundError(f"{url}: Lucid's bucket is gone; use to_lucid(keras_network).")
        return open_url(url, mode=mode)

    reading._handle_gcs_url = open_gcs_url


_PATCHES = {
    "lucid.misc.redirected_relu_grad": _patch_redirection,
    "lucid.optvis.render": _patch_layer_names,
    "lucid.optvis.objectives": _patch_diversity,
    "lucid.misc.io.reading": _patch_dead_bucket,
}


def _import_for_lucid(name, globals=None, locals=None, fromlist=(), level=0):
    """Serve the import statements in Lucid: ``tensorflow`` is TensorFlow 1."""
    if level == 0 and name.partition(".")[0] == "tensorflow":
        parts = name.split(".")[1:] if fromlist else []
        return functools.reduce(getattr, parts, _tensorflow1)
    return builtins.__import__(name, globals, locals, fromlist, level)


class _LucidLoader(importlib.machinery.SourceFileLoader):
    """Load a module with Lucid's own import statement, then patch it."""

    def exec_module(self, module: types.ModuleType) -> None:
        module.__builtins__ = {**vars(builtins), "__import__": _import_for_lucid}
        super().exec_module(module)
        if patch := _PATCHES.get(module.__name__):
            patch(module)


class _LucidFinder:
    """Find the modules of Lucid, and no others."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname.partition(".")[0] == "lucid":
            spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
            if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
                spec.loader = _LucidLoader(spec.loader.name, spec.loader.path)
            return spec


def import_lucid() -> types.ModuleType:
    """Import Lucid 0.3.8 without any effect on the rest of the process.

    Returns
    -------
    module
        Package ``lucid``. Eager execution stays on: build graphs in ``tf.Graph().as_default()``.
    """
    # By name, so that reloading this module in a notebook does not load Lucid a second time.
    if not any(getattr(f, "__name__", "") == _LucidFinder.__name__ for f in sys.meta_path):
        # What earlier imports left behind without this finder is bound to TensorFlow 2.
        for name in [name for name in sys.modules if name.startswith("lucid.")]:
            del sys.modules[name]
        sys.meta_path.insert(0, _LucidFinder)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        for name in ("modelzoo.vision_models", "misc.io", "optvis.render", "optvis.style"):
            importlib.import_module(f"lucid.{name}")
        return importlib.import_module("lucid")
    finally:
        # Lucid calls logging.basicConfig, which would change what other packages log.
        root.handlers[:] = handlers
        root.setLevel(level)
