"""The genuine Lucid on TensorFlow 2, and any Keras network as a Lucid model.

Lucid 0.3.8 is written for TensorFlow 1. `import_lucid` gives it, and it alone, the TensorFlow 1 API
that TensorFlow 2 still carries: Lucid's modules are loaded with an import statement of their own,
so that nothing in ``sys.modules`` is ever replaced and the rest of the process cannot notice.
`to_lucid` freezes a Keras network into a Lucid ``Model``; `render`, `render_channels`, `evaluate`
and `activations` are what one mostly wants of it.

>>> model = to_lucid(keras.applications.InceptionV3())
>>> images = render_channels(model, "mixed5b", [3, 40], size=128)
"""

import builtins
import ctypes.util  # noqa: F401  Lucid's OpenGL renderer uses it without importing it
import difflib
import functools
import importlib
import importlib.machinery
import inspect
import logging
import operator
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.util import deprecation

from utils.progress import progress_bar

tf1 = tf.compat.v1

# --- The TensorFlow 1 that Lucid sees ---------------------------------------------------------


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
        self._scope = threading.local()

    @contextmanager
    def arg_scope(self, _functions: Sequence[Callable], **defaults: Any) -> Iterator[None]:
        """Set default arguments of `conv2d`."""
        self._scope.defaults = defaults
        try:
            yield
        finally:
            self._scope.defaults = {}

    def conv2d(self, inputs: tf.Tensor, num_outputs: int, **arguments: Any) -> tf.Tensor:
        """Convolve with new variables, add a bias, activate."""
        arguments = {**self._scope.defaults, **arguments}
        shape = [*arguments["kernel_size"], inputs.shape[-1], num_outputs]
        with tf1.variable_scope(None, default_name="Conv"):
            weights = tf1.get_variable("w", shape, initializer=arguments["weights_initializer"])
            biases = tf1.get_variable("b", shape[-1:], initializer=arguments["biases_initializer"])
        outputs = tf.nn.conv2d(inputs, weights, 1, "SAME") + biases
        return (arguments["activation_fn"] or tf.identity)(outputs)

    @staticmethod
    def instance_norm(inputs: tf.Tensor) -> tf.Tensor:
        """Normalise each image and channel, then scale and shift by new variables."""
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

# --- Repairs of single modules, made right after they are loaded ------------------------------


def _patch_layer_names(render: types.ModuleType) -> None:
    """Let the models of `to_lucid` translate layer names, and explain those they do not have."""
    import_model = render.import_model

    def import_model_by_name(model, t_image, t_image_raw):
        tensors = import_model(model, t_image, t_image_raw)
        node_name = getattr(model, "node_name", str)
        return lambda name: tensors(node_name(name))

    render.import_model = import_model_by_name


def _patch_dead_bucket(reading: types.ModuleType) -> None:
    """Name the way out where Lucid would download from its bucket, which no longer exists."""
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
    "lucid.misc.io.reading": _patch_dead_bucket,
}

# --- Importing Lucid --------------------------------------------------------------------------


def _import_for_lucid(name, globals=None, locals=None, fromlist=(), level=0):
    """Serve the import statements in Lucid: ``tensorflow`` is TensorFlow 1, the rest as ever."""
    if level == 0 and name.partition(".")[0] == "tensorflow":
        parts = name.split(".")[1:] if fromlist else []
        return functools.reduce(getattr, parts, _tensorflow1)
    return builtins.__import__(name, globals, locals, fromlist, level)


class _LucidLoader(importlib.machinery.SourceFileLoader):
    """Load a module with Lucid's import statement, then repair it."""

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
            message = f"cannot import Lucid ({error}); install it: pip install lucid==0.3.8"
            raise ModuleNotFoundError(message) from error
        finally:
            # Lucid calls logging.basicConfig, which would change what other packages log.
            root.handlers[:] = handlers
            root.setLevel(level)
        return lucid


# --- Keras networks as Lucid models -----------------------------------------------------------


def to_lucid(model: Any, *, image_value_range: tuple = (-1, 1)):
    """Freeze a network into a Lucid model.

    Weights are copied: to train the network on does not change the Lucid model. Whatever acts in
    training only, such as dropout, is left out, and batch normalisation uses its moving statistics.

    Parameters
    ----------
    model : keras.Model or utils.models.Model
        A functional or sequential network of one RGB image, channels last.
    image_value_range : (low, high)
        What the network expects for black and white, each a number or one number a channel.
        Unused for a `utils.models.Model`, which knows its own.

    Returns
    -------
    lucid.modelzoo.vision_base.Model
        Ready for all of ``lucid.optvis``. Its layers carry Keras' names; those of an InceptionV3
        carry the names of Lucid's model zoo, and Keras' and the paper's short ones (``mixed5b``)
        are accepted too.

    Raises
    ------
    ValueError
        If the network is of another kind, or has layers that cannot be frozen faithfully.
    """
    network, backbone = getattr(model, "network", model), getattr(model, "backbone", None)
    _check_network(network)
    name, (height, width), aliases = network.name, network.input_shape[1:3], {}
    if backbone is not None:
        name = f"{model.weights}_{backbone.name}"
        height, width = height or backbone.default_size, width or backbone.default_size
        low, high = model.preprocess(np.float32([[0, 0, 0], [255, 255, 255]]))
        # Plain numbers where they suffice, since that is what users of Lucid expect to find.
        plain = np.ptp(low) == np.ptp(high) == 0
        image_value_range = (float(low[0]), float(high[0])) if plain else (low, high)
        aliases = {short: model.layer(short).name for short in backbone.layers}
    graph_def, layers = _freeze(network)
    shape = [height, width, 3]
    lucid_model = _keras_model_class()(name, graph_def, layers, aliases, image_value_range, shape)
    if backbone is not None and model.sha256:
        lucid_model.identity = model.identity
    return lucid_model


def _check_network(network: Any) -> None:
    """Raise ValueError unless Lucid can render this network."""
    if not isinstance(network, keras.Model) or getattr(network, "inputs", None) is None:
        raise ValueError(
            f"model is a {type(network).__name__}; expected a functional or a built sequential "
            "keras.Model, or what utils.models.load_model returns: rebuild it as "
            "keras.Model(inputs, outputs)."
        )
    shapes = [tuple(tensor.shape) for tensor in network.inputs]
    for layer in network._flatten_layers(include_self=False):
        if type(layer).__module__.partition(".")[0] != "keras":
            raise ValueError(
                f"layer {layer.name!r} is of the custom class {type(layer).__name__}; expected "
                "only layers of keras.layers: express it by those, or cut the network before it "
                "with keras.Model(inputs, outputs)."
            )
        if getattr(layer, "data_format", None) == "channels_first":
            raise ValueError(
                f"layer {layer.name!r} is channels first (inputs: {shapes}); expected channels "
                "last: rebuild the network with data_format='channels_last'."
            )
        if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
            raise ValueError(
                f"layer {layer.name!r} has {layer.groups} groups; expected 1, since TensorFlow "
                "cannot differentiate a frozen grouped convolution: use DepthwiseConv2D where it "
                "is the same, or cut the network before it with keras.Model(inputs, outputs)."
            )
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise ValueError(
            f"the network has {len(shapes)} input(s) of shape {shapes}; expected one RGB image of "
            "shape (None, height, width, 3), channels last: wrap the network in a keras.Model "
            "with this input."
        )


def _run(network: keras.Model, inputs: tf.Tensor, found: dict[str, tuple]) -> tf.Tensor:
    """Run a network in inference mode and note operations and outputs by name in `found`.

    Networks nested in it are entered; a name that is taken is put behind that of its network.
    """

    def recorded(operation):
        def call(*args, **kwargs):
            if isinstance(operation, keras.Model):
                return _run(operation, args[0], found)
            if "training" in inspect.signature(operation.call).parameters:
                kwargs["training"] = False
            output = operation(*args, **kwargs)
            # Without a number of channels, as after Flatten of an image of any size, none is shown.
            if tf.is_tensor(output) and (output.shape.rank or 0) > 1 and output.shape[-1]:
                name = operation.name
                while name in found:
                    name = f"{network.name}/{name}"
                found[name] = operation, output
            return output

        return call

    # On TensorFlow's tensors: Keras' symbolic ones would add nodes to the user's network. A model
    # of the same inputs and outputs makes a graph of a sequential network too.
    graph = keras.Model(network.inputs, network.outputs)
    return graph._run_through_graph(inputs, operation_fn=recorded)


def _zoo_names(found: dict[str, tuple]) -> dict[str, str]:
    """Map Keras' layer names to those of Lucid's model zoo, if the network is an InceptionV3.

    The stem is a chain, so that its activations are the first five to run. By name they cannot be
    found: Keras numbers them by what else the process has built.
    """
    stem = [name for name, (op, _) in found.items() if isinstance(op, keras.layers.Activation)][:5]
    keras_names = [*stem, *(f"mixed{i}" for i in range(11)), "predictions"]
    zoo = import_lucid().modelzoo.vision_models.InceptionV3_slim.layers
    layers = {name: layer for name, layer in zip(keras_names, zoo, strict=False) if name in found}
    is_inception = "mixed0" in layers and all(
        found[name][1].shape[-1] == layer.depth
        for name, layer in layers.items()
        if name != "predictions"  # which have one class more in the model zoo
    )
    return {name: layer.name for name, layer in layers.items()} if is_inception else {}


def _freeze(network: keras.Model) -> tuple[tf1.GraphDef, dict[str, tuple[str, tf.Tensor]]]:
    """Make a constant graph, and map Keras' layer names to Lucid's name and the tensor."""
    layers = {}

    def forward(images):
        found = {}
        with tf.name_scope("keras"):  # leaves the layers' names to their outputs
            _run(network, images, found)
        zoo_names = _zoo_names(found)
        for name, (_, output) in found.items():
            lucid_name = zoo_names.get(name, name)
            # In single precision, whatever the policy: the constants in Lucid's objectives are.
            layers[name] = lucid_name, tf.identity(tf.cast(output, tf.float32), name=lucid_name)
        return [tensor for _, tensor in layers.values()]

    # Height and width stay open: Lucid's transformations change them at every step.
    spec = tf.TensorSpec([None, None, None, 3], tf.float32, name="input")
    traced = tf.function(forward, input_signature=[spec], autograph=False).get_concrete_function()
    return convert_variables_to_constants_v2(traced).graph.as_graph_def(), layers


@functools.cache
def _keras_model_class() -> type:
    """Define the Lucid model of a Keras network, whose base class exists once Lucid is imported."""
    vision_base = import_lucid().modelzoo.vision_base

    class KerasModel(vision_base.Model):
        """A Keras network as a Lucid model, see `to_lucid`."""

        name = None  # the network's, where Lucid's own models have the name of their class
        input_name = "input"

        def __init__(self, name, graph_def, layers, aliases, image_value_range, image_shape):
            super().__init__()
            self.name, self.graph_def = name, graph_def
            self.image_value_range, self.image_shape = image_value_range, image_shape
            self.layers, self._by_name = [], {}
            in_zoo = any(name != lucid_name for name, (lucid_name, _) in layers.items())
            for keras_name, (lucid_name, tensor) in layers.items():
                tags = {2: ["dense"], 4: ["conv"]}.get(tensor.shape.rank, [])
                layer = vision_base.Layer(self, lucid_name, tensor.shape[-1], tags)
                layer.node = tensor.op.name
                self._by_name[keras_name] = self._by_name[lucid_name] = layer
                if lucid_name != keras_name:  # .../Conv2d_4a_3x3/Relu is conv2d_4a in the paper
                    paper_name = lucid_name.split("/")[-2].lower().replace("mixed_", "mixed")
                    self._by_name[re.sub(r"_\dx\d$", "", paper_name)] = layer
                # The model zoo lists what is worth a look, not each of 300 operations.
                if not in_zoo or lucid_name != keras_name or "dense" in tags:
                    self.layers.append(layer)
            self._by_name |= {alias: self._by_name[name] for alias, name in aliases.items()}

        def load_graphdef(self):
            """Do nothing, since the graph is there from the start."""

        def get_layer(self, name):
            """Return a layer by any of its names."""
            if name not in self._by_name:
                folded = {known.lower().replace("_", ""): known for known in self._by_name}
                wanted = name.lower().replace("_", "")
                near = difflib.get_close_matches(wanted, folded, n=5, cutoff=0.4) or list(folded)
                raise ValueError(
                    f"{self.name} has no layer {name!r}; the nearest are "
                    f"{[folded[key] for key in near[:5]]}: take one of "
                    "[layer.name for layer in model.layers]."
                )
            return self._by_name[name]

        def node_name(self, name):
            """Return what the graph calls a layer; "input" and "labels" are Lucid's own."""
            return name if name in ("input", "labels") else self.get_layer(name).node

    return KerasModel


# --- Using them -------------------------------------------------------------------------------


@contextmanager
def _session(seed: int) -> Iterator[tf1.Session]:
    """Open a graph and a session in which everything random depends on `seed` alone."""
    state = np.random.get_state()  # the generator from which Lucid draws its first images
    with tf1.Graph().as_default(), tf1.Session() as session, deprecation.silence():
        tf1.set_random_seed(seed)
        np.random.seed(seed)
        try:
            yield session
        finally:
            np.random.set_state(state)


def render(
    model: Any,
    objective: Any,
    param_f: Callable,
    *,
    steps: int = 128,
    seed: int = 0,
    transforms: Sequence[Callable] | None = None,
    learning_rate: float = 0.05,
    description: str = "Lucid",
    progress: bool = True,
) -> np.ndarray:
    """Render an objective with Lucid, reproducibly and without its printing.

    Parameters
    ----------
    model : lucid.modelzoo.vision_base.Model
        From `to_lucid`.
    objective : lucid.optvis.objectives.Objective, str or callable
        Whatever Lucid takes for one, of all images of the batch together.
    param_f : callable
        Makes the images, such as ``lambda: lucid.optvis.param.image(128, batch=4)``.
    steps : int
        Updates by Adam.
    seed : int
        The same seed gives the same images.
    transforms : sequence of callables, optional
        From ``lucid.optvis.transform``; by default its ``standard_transforms``.
    learning_rate : float
        Of Adam.
    description : str
        Of the progress bar.
    progress : bool
        Whether to show one.

    Returns
    -------
    array, (N, H, W, 3), float32 in [0, 1]
    """
    make_vis_T = import_lucid().optvis.render.make_vis_T
    with _session(seed) as session:
        tensors = make_vis_T(
            model,
            objective,
            param_f,
            optimizer=tf1.train.AdamOptimizer(learning_rate),
            transforms=None if transforms is None else list(transforms),
            relu_gradient_override=True,
        )
        session.run(tf1.global_variables_initializer())
        for _ in progress_bar(range(steps), desc=description, unit="step", disable=not progress):
            session.run(tensors("vis_op"))
        return session.run(tensors("input"))


def render_channels(
    model: Any, layer: str, channels: Sequence[int], *, size: int = 128, **options: Any
) -> np.ndarray:
    """Render channels of a layer with Lucid, all in one graph.

    Parameters
    ----------
    model : lucid.modelzoo.vision_base.Model
        From `to_lucid`.
    layer : str
        Any name of the layer.
    channels : sequence of int
        Channels to maximise, an image each.
    size : int
        Height and width of the images in pixels.
    **options
        See `render`.

    Returns
    -------
    array, (N, size, size, 3), float32 in [0, 1]
    """
    optvis, depth = import_lucid().optvis, model.get_layer(layer).depth
    channels = [operator.index(channel) for channel in channels]
    if not channels or not all(0 <= channel < depth for channel in channels):
        raise ValueError(
            f"channels are {channels}; expected one or more of 0 to {depth - 1}, "
            f"since {layer} has {depth}."
        )
    objective = optvis.objectives.Objective.sum(
        [optvis.objectives.channel(layer, c, batch=i) for i, c in enumerate(channels)]
    )
    return render(
        model,
        objective,
        lambda: optvis.param.image(size, batch=len(channels)),
        description=f"Lucid, {layer}",
        **options,
    )


def aligned_images(size: int, batch: int) -> tf.Tensor:
    """Make images that share a coarse one, so that an interpolation morphs (for `render`).

    Parameters
    ----------
    size : int
        Height and width in pixels; what is shared has a quarter of it.
    batch : int
        Number of images.
    """
    param, shape = import_lucid().optvis.param, (batch, size, size, 3)
    coarse = max(1, size // 4)
    common = param.lowres_tensor(shape, (1, coarse, coarse, 3))
    return param.to_valid_rgb(param.fft_image(shape) + common, decorrelate=True, sigmoid=True)


def evaluate(model: Any, objective: Any, images: np.ndarray) -> np.ndarray:
    """Compute a Lucid objective of given images, without any transformation.

    Parameters
    ----------
    model : lucid.modelzoo.vision_base.Model
        From `to_lucid`.
    objective : lucid.optvis.objectives.Objective, str or callable
        Whatever Lucid takes for one, such as ``"mixed5b:3"``.
    images : array, (N, H, W, 3), float in [0, 1]
        RGB images.

    Returns
    -------
    float or array
        What the objective computes.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype.kind != "f":
        raise ValueError(
            f"images are {images.dtype} of shape {images.shape}; expected floats in [0, 1] of "
            "shape (N, H, W, 3): divide uint8 images by 255."
        )
    optvis = import_lucid().optvis
    with _session(seed=0) as session:
        inputs = tf1.placeholder(tf.float32, images.shape)
        tensors = optvis.render.import_model(model, inputs, inputs)
        return session.run(
            optvis.objectives.as_objective(objective)(tensors), feed_dict={inputs: images}
        )


def activations(model: Any, images: np.ndarray, layer: str) -> np.ndarray:
    """Return what a layer computes from images, ``(N, h, w, C)`` or ``(N, C)``, through Lucid.

    Parameters
    ----------
    model, images
        As in `evaluate`.
    layer : str
        Any name of the layer.
    """
    return evaluate(model, lambda tensors: tensors(layer), images)
