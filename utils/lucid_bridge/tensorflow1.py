"""The TensorFlow 1 that Lucid sees, and the import of Lucid.

Lucid 0.3.8 is written for TensorFlow 1. `import_lucid` provides only Lucid's modules with the
TensorFlow 1 API that TensorFlow 2 still carries: they are loaded with an import statement of their
own, so that nothing in ``sys.modules`` is replaced and the rest of the process is not affected.
"""

import builtins
import contextvars
import ctypes.util  # noqa: F401  Lucid's OpenGL renderer uses it without importing it
import functools
import importlib
import importlib.machinery
import logging
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from utils.optvis import measures

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

    def __init__(self) -> None:
        self._defaults = contextvars.ContextVar("default arguments of conv2d")

    @contextmanager
    def arg_scope(self, _functions: Sequence[Callable], **defaults: Any) -> Iterator[None]:
        token = self._defaults.set(defaults)
        try:
            yield
        finally:
            self._defaults.reset(token)

    def conv2d(self, inputs: tf.Tensor, num_outputs: int, **arguments: Any) -> tf.Tensor:
        arguments = self._defaults.get() | arguments
        shape = [*arguments["kernel_size"], inputs.shape[-1], num_outputs]
        with tf1.variable_scope(None, default_name="Conv"):
            weights = tf1.get_variable("w", shape, initializer=arguments["weights_initializer"])
            biases = tf1.get_variable("b", shape[-1:], initializer=arguments["biases_initializer"])
        outputs = tf.nn.conv2d(inputs, weights, 1, "SAME") + biases
        return (arguments["activation_fn"] or tf.identity)(outputs)

    @staticmethod
    def instance_norm(inputs: tf.Tensor) -> tf.Tensor:
        with tf1.variable_scope(None, default_name="InstanceNorm"):
            beta = tf1.get_variable("beta", inputs.shape[-1:], initializer=tf1.zeros_initializer())
            gamma = tf1.get_variable("gamma", inputs.shape[-1:], initializer=tf1.ones_initializer())
        mean, variance = tf.nn.moments(inputs, [1, 2], keepdims=True)
        return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, 1e-6)


_tensorflow1 = types.ModuleType("tensorflow", "TensorFlow 1 as Lucid knows it.")
_tensorflow1.__getattr__ = functools.partial(getattr, tf1)
_tensorflow1.contrib = types.SimpleNamespace(
    image=types.SimpleNamespace(rotate=_rotate), slim=_Slim()
)


def _patch_layer_names(render: types.ModuleType) -> None:
    """Let the models of `to_lucid` translate layer names, and explain those they do not have."""
    import_model = render.import_model

    def import_model_by_name(model, t_image, t_image_raw):
        tensors = import_model(model, t_image, t_image_raw)
        node_name = getattr(model, "node_name", str)
        return lambda name: tensors(node_name(name))

    render.import_model = import_model_by_name


def _patch_diversity(objectives: types.ModuleType) -> None:
    """Compute diversity by one product of all images.

    Lucid sums over pairs of images, and TensorFlow their gradients in an order that differs from
    process to process.
    """

    @objectives.wrap_objective
    def diversity(layer):
        def similarity(tensors):
            together = tf.zeros(tensors(layer).shape[0], tf.int32)  # one group of all images
            return tf.reduce_mean(measures.diversity(tensors(layer), together))

        return similarity

    objectives.diversity = diversity


def _patch_dead_bucket(reading: types.ModuleType) -> None:
    """Explain what to do instead of downloading from Lucid's bucket, which no longer exists."""
    open_url = reading._handle_gcs_url

    def open_gcs_url(url, mode="r"):
        if not url.startswith("gs://modelzoo/"):
            return open_url(url, mode=mode)
        # Not a ValueError, on which Lucid tries again, nor a KeyError, on which it tries an image.
        raise FileNotFoundError(
            f"{url}: the bucket of Lucid's model zoo is gone. Turn a Keras network into a Lucid "
            "model with utils.lucid_bridge.to_lucid(model); or, if you have the file, make "
            "model_path (or labels_path) of the model's class its path, or copy it to "
            f"{reading.local_cache_path(url)}."
        )

    reading._handle_gcs_url = open_gcs_url


_PATCHES = {
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
        if module.__name__ in _PATCHES:
            _PATCHES[module.__name__](module)


class _LucidFinder:
    """Find the modules of Lucid, and no others."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname.partition(".")[0] != "lucid":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _LucidLoader(spec.loader.name, spec.loader.path)
        return spec


_lock = threading.RLock()


def import_lucid() -> types.ModuleType:
    """Import Lucid 0.3.8 without any effect on the rest of the process.

    Returns
    -------
    module
        The package ``lucid``, with ``optvis``, ``modelzoo`` and ``misc`` loaded. From now on plain
        import statements reach all of Lucid. Eager execution stays on: build graphs inside
        ``with tf.Graph().as_default()``, as Lucid does itself.
    """
    root = logging.getLogger()
    with _lock:
        # By name, so that reloading this module in a notebook does not load Lucid a second time.
        if not any(getattr(f, "__name__", "") == _LucidFinder.__name__ for f in sys.meta_path):
            # What earlier imports left behind without this finder is bound to TensorFlow 2.
            for name in [name for name in sys.modules if name.startswith("lucid.")]:
                del sys.modules[name]
            sys.meta_path.insert(0, _LucidFinder)
        handlers, level = root.handlers[:], root.level
        try:
            lucid = importlib.import_module("lucid")
            for name in ("modelzoo.vision_models", "misc.io", "optvis.render", "optvis.style"):
                importlib.import_module(f"lucid.{name}")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"cannot import Lucid ({error}); install it: pip install lucid==0.3.8"
            ) from error
        finally:
            # Lucid calls logging.basicConfig, which would change what other packages log.
            root.handlers[:] = handlers
            root.setLevel(level)
        return lucid
