"""Kept steps of a run: calls whose results an interrupted or repeated run takes from disk.

`joblib.Memory` keeps them. A call is identified by its function, the content of all its arguments,
the code of the methods and the versions of the packages.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from os import PathLike
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import Any

import joblib
import numpy as np
import pandas as pd

from utils.versions import versions

_UNUSED = timedelta(days=14)  # after this time a kept step is removed
# These modules draw or store results; they cannot change what a step returns.
_NOT_METHODS = ("results", "files.py", "progress.py", "versions.py")


class Steps:
    """Kept calls below a folder, and how many of this run's calls were computed or kept."""

    def __init__(self, folder: Path, *, force: bool = False):
        memory = joblib.Memory(Path(folder), verbose=0)
        memory.reduce_size(age_limit=_UNUSED)
        valid = {"cache_validation_callback": lambda metadata: not force}
        self._call = memory.cache(_call, ignore=["call"], **valid)
        self.made = self.taken = 0

    def once(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """Call a function that depends on its arguments only, or return what it returned before."""

        def call() -> Any:
            self.made += 1
            return function(*args, **kwargs)

        key = identity((function, args, kwargs, code_sha256(), versions()))
        made = self.made
        result = self._call(getattr(function, "__name__", ""), key, call)
        self.taken += self.made == made
        return result


def _call(name: str, key: str, call: Callable) -> Any:
    return call()


def identity(value: Any) -> str:
    """Hash a value's content: the same in every process, and different for different values."""
    return joblib.hash(_content(value))


@functools.cache
def code_sha256() -> str:
    """Hash the code of the methods: all of `utils` but what only draws or stores."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] not in _NOT_METHODS:
            digest.update(f"{name.as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _content(value: Any) -> tuple:
    """Reduce a value to its type and plain items, in which the order of a mapping counts."""
    if isinstance(value, (bool, int, float, str, bytes, NoneType, np.generic, PathLike)):
        return type(value).__name__, repr(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        values = hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
        return "array", value.dtype.str, str(value.shape), values
    if isinstance(value, (list, tuple, np.ndarray)):
        items = value
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (pd.DataFrame, pd.Series)):
        items = value.reset_index().to_dict("list").items()
    elif hasattr(value, "identity"):
        items = value.identity
    elif dataclasses.is_dataclass(value):
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, functools.partial):
        items = value.func, value.args, value.keywords
    elif isinstance(value, MethodType):
        items = value.__func__, value.__self__
    elif _of_module(value):
        items = value.__module__, value.__qualname__
    else:
        raise TypeError(
            f"{value!r} cannot be hashed, so that this step cannot be kept: call the function "
            "directly, or pass arrays, plain values and functions of modules."
        )
    return type(value).__qualname__, [_content(item) for item in items]


def _of_module(value: Any) -> bool:
    function = isinstance(value, (FunctionType, BuiltinFunctionType))
    return function and value.__module__ != "__main__" and "<" not in value.__qualname__
