"""The TensorFlow 1 that Lucid 0.3.8 sees, and the import of Lucid.

`import_lucid` gives Lucid's modules alone the TensorFlow 1 API that TensorFlow 2 still carries: by
an import statement of their own, so that nothing in ``sys.modules`` is replaced.
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

from utils.optvis.objectives import similarity

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


_contrib = types.SimpleNamespace(image=types.SimpleNamespace(rotate=_rotate), slim=_Slim())
_tensorflow1 = types.ModuleType("tensorflow", "TensorFlow 1 as Lucid knows it.")
_tensorflow1.__getattr__ = functools.partial(getattr, tf1)
_tensorflow1.contrib = _contrib


def _patch_layer_names(render: types.ModuleType) -> None:
    """Let the models of `to_lucid` translate layer names, and explain those they do not have."""
    import_model = render.import_model

    def import_model_by_name(model, t_image, t_image_raw):
        tensors = import_model(model, t_image, t_image_raw)
        node_name = getattr(model, "node_name", str)
        return lambda name: tensors(node_name(name))

    render.import_model = import_model_by_name


def _patch_diversity(objectives: types.ModuleType) -> None:
    """Compute diversity in one product, since Lucid's order of pairs differs by process."""

    @objectives.wrap_objective
    def diversity(layer):
        def mean_similarity(tensors):
            one_group = tf.zeros(tensors(layer).shape[0], tf.int32)
            return tf.reduce_mean(similarity(tensors(layer), one_group))

        return mean_similarity

    objectives.diversity = diversity


def _patch_dead_bucket(reading: types.ModuleType) -> None:
    """Explain what to do instead of downloading from Lucid's bucket, which no longer exists."""
    open_url = reading._handle_gcs_url

    def open_gcs_url(url, mode="r"):
        if not url.startswith("gs://modelzoo/"):
            return open_url(url, mode=mode)
        # Not a ValueError, on which Lucid tries again, nor a KeyError, on which it tries an image.
        raise FileNotFoundError(
            f"{url}: the bucket of Lucid's model zoo is gone. Use a Keras network with "
            "utils.lucid_bridge.to_lucid(model), or set model_path (labels_path) of the model's "
            f"class to a file of yours, or copy that to {reading.local_cache_path(url)}."
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
        if patch := _PATCHES.get(module.__name__):
            patch(module)


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


def import_lucid() -> types.ModuleType:
    """Import Lucid 0.3.8 without any effect on the rest of the process.

    Returns
    -------
    module
        Package ``lucid`` with ``optvis``, ``modelzoo`` and ``misc``; import statements reach all of
        it. Build graphs inside ``with tf.Graph().as_default()``, since eager execution stays on.
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
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"cannot import Lucid ({error}); install it: pip install lucid==0.3.8"
        ) from error
    finally:
        # Lucid calls logging.basicConfig, which would change what other packages log.
        root.handlers[:] = handlers
        root.setLevel(level)
