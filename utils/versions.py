"""Versions of what results depend on: Python, packages and the code of the methods."""

import functools
import hashlib
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "tensorflow keras lucid numpy scipy pandas scikit-learn scikit-image opencv-python h5py "
    "matplotlib pillow"
).split()
# These modules draw, store or distribute results, but cannot change what a step returns.
_NOT_METHODS = ("results", "cluster.py", "files.py", "progress.py", "versions.py")


@functools.cache
def versions() -> dict[str, str]:
    """Return the version of Python and of each of `PACKAGES`."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # such as one that another build of it replaces
        return "not installed"


@functools.cache
def code_sha256() -> str:
    """Hash the code of the methods: all of `utils` but what only draws, stores or distributes."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] not in _NOT_METHODS:
            digest.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()
