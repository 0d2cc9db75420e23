"""Versions of Python and of the packages that results depend on."""

import functools
import platform
from importlib import metadata

PACKAGES = (
    "tensorflow keras lucid numpy scipy pandas scikit-learn scikit-image opencv-python h5py "
    "matplotlib pillow"
).split()


@functools.cache
def versions() -> dict[str, str]:
    """Return the version of Python and of each of `PACKAGES`."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # such as one that another build of it replaces
        return "not installed"
