"""Versions of Python and of the packages that results depend on."""

import functools
import platform
from importlib import metadata

PACKAGES = (
    "tensorflow",
    "keras",
    "lucid",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "scikit-image",
    "opencv-python",
    "h5py",
    "matplotlib",
    "pillow",
)


@functools.cache
def versions() -> dict[str, str]:
    """Return the version of Python and of each of `PACKAGES`."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # such as one that another build of it replaces
            found[name] = "not installed"
    return found
