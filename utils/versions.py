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
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES
    }
