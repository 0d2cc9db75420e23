"""Finished steps of a run are kept, so that an interrupted run can resume.

A step is a call of a function of `utils`. It is identified by the function, the content of all its
arguments, the code of the methods and the versions of the packages, so that what is read from disk
is what the call would return.
"""

import dataclasses
import functools
import hashlib
import os
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import pandas as pd

from utils.files import whole_file
from utils.versions import versions

UNUSED_DAYS = 14
# These modules draw or store results; they cannot change what a step returns.
_NOT_METHODS = ("results", "files.py", "progress.py", "versions.py")


class Steps:
    """Results of calls, in a folder.

    Parameters
    ----------
    folder : str or Path
        Pickles, one per step. Those that nobody has used for `UNUSED_DAYS` are removed.
    force : bool
        Make every step again.
    """

    def __init__(self, folder: str | Path, *, force: bool = False):
        self.folder, self.force = Path(folder), force
        self.made = self.taken = 0
        for path in self.folder.glob("*.pkl"):
            if time.time() - path.stat().st_mtime > UNUSED_DAYS * 24 * 3600:
                path.unlink(missing_ok=True)

    def once(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """Call a function, or take what the same call has returned before.

        Parameters
        ----------
        function : callable
            A function or method of a module; it must depend on nothing but its arguments.
        *args, **kwargs
            See `identity` for what can be told apart.
        """
        digest = identity((function, args, kwargs, code_sha256(), versions()))
        name = getattr(function, "__name__", type(function).__name__)
        path = self.folder / f"{name}-{digest[:32]}.pkl"
        if not self.force and path.exists():
            try:
                found = pickle.loads(path.read_bytes())
            except (pickle.UnpicklingError, EOFError, AttributeError, ImportError) as error:
                raise ValueError(f"{path} is damaged ({error}): remove it.") from error
            os.utime(path)
            self.taken += 1
            return found
        found = function(*args, **kwargs)
        with whole_file(path) as scratch:
            scratch.write_bytes(pickle.dumps(found, protocol=pickle.HIGHEST_PROTOCOL))
        self.made += 1
        return found


def identity(value: Any) -> str:
    """Hash the content of a value.

    Parameters
    ----------
    value : object
        Plain values, arrays, DataFrames, dataclasses, functions of modules, containers of these,
        and whatever has an attribute ``identity``, such as `utils.networks.Model`.

    Returns
    -------
    str
        Hexadecimal SHA-256, the same in every process.
    """
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


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


def _feed(digest, value: Any) -> None:
    digest.update(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    if isinstance(value, bytes):
        digest.update(value)
    elif value is None or isinstance(value, (bool, int, float, str, np.generic, os.PathLike)):
        digest.update(f"{value!r};".encode())
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value))
    elif isinstance(value, (list, tuple, np.ndarray)):
        digest.update(f"{len(value)}".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, Mapping):
        _feed(digest, list(value.items()))
    elif isinstance(value, (pd.DataFrame, pd.Series)):
        _feed(digest, value.reset_index().to_dict("list"))
    elif hasattr(value, "identity"):
        _feed(digest, value.identity)
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        _feed(digest, [(name, getattr(value, name)) for name in names])
    elif isinstance(value, functools.partial):
        _feed(digest, (value.func, value.args, value.keywords))
    elif isinstance(value, MethodType):
        _feed(digest, (value.__func__, value.__self__))
    elif isinstance(value, (FunctionType, BuiltinFunctionType)) and _of_module(value):
        digest.update(f"{value.__module__}.{value.__qualname__};".encode())
    else:
        raise TypeError(
            f"{value!r} cannot be told from others, so that its step cannot be kept: call the "
            "function directly, or pass arrays, plain values and functions of modules."
        )


def _of_module(function: Callable) -> bool:
    return function.__module__ != "__main__" and "<" not in function.__qualname__
