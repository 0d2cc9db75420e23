"""Kept steps of a run: calls whose results an interrupted or repeated run takes from disk."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from os import PathLike
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import Any

import joblib
import numpy as np
import pandas as pd

from utils.cluster import map_chunks
from utils.versions import code_sha256, versions

_PLAIN = (bool, int, float, str, bytes, NoneType, np.generic, PathLike)


class Steps:
    """Kept calls below a folder, and how many of this run's calls were computed or kept.

    A call is identified by its function, the content of all its arguments, the code of the
    methods and the versions of the packages.
    """

    def __init__(self, folder: Path, *, force: bool = False):
        memory = joblib.Memory(Path(folder), verbose=0)
        memory.reduce_size(age_limit=timedelta(days=14))  # since their last use
        self._call = memory.cache(
            _call, ignore=["call"], cache_validation_callback=lambda metadata: not force
        )
        self._force, self.made, self.taken = force, 0, 0

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

    def map_chunks(
        self,
        function: Callable,
        chunks: Iterable[tuple[str, tuple]],
        *,
        shared: Sequence = (),
        **bar: Any,
    ) -> Iterator[tuple[str, Any]]:
        """As `cluster.map_chunks`, but each chunk is a step, whose result may be kept."""
        chunks, label, computed = dict(chunks), function.__name__, {}
        about = (function, tuple(shared), code_sha256(), versions())
        keys = {name: identity((about, arguments)) for name, arguments in chunks.items()}
        missing = [
            (name, arguments)
            for name, arguments in chunks.items()
            if self._force or not self._call.check_call_in_cache(label, keys[name], None)
        ]
        for name, result in map_chunks(function, missing, shared=shared, **bar):
            computed[name] = self._call(label, keys[name], partial(_given, result))
        self.made += len(computed)
        self.taken += len(chunks) - len(computed)
        for name, arguments in chunks.items():
            if name in computed:
                yield name, computed[name]
            else:  # computed again if what was kept is damaged
                yield name, self._call(label, keys[name], partial(function, *shared, *arguments))


def _given(result: Any) -> Any:
    return result


def _call(name: str, key: str, call: Callable) -> Any:
    return call()


def identity(value: Any) -> str:
    """Hash a value's content: the same in every process, and different for different values."""
    return joblib.hash(_content(value))


def _content(value: Any) -> tuple:
    """Reduce a value to its type and plain items, in which the order of a mapping counts."""
    if isinstance(value, _PLAIN):
        return type(value).__name__, repr(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        values = hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
        return "array", value.dtype.str, str(value.shape), values
    return type(value).__qualname__, [_content(item) for item in _items(value)]


def _items(value: Any) -> Iterable:
    match value:
        case list() | tuple() | np.ndarray():
            return value
        case Mapping():
            return value.items()
        case pd.DataFrame() | pd.Series():
            return value.reset_index().to_dict("list").items()
        case object(identity=content):
            return content
        case object(__dataclass_fields__=fields):
            return [(name, getattr(value, name)) for name in fields]
        case partial():
            return value.func, value.args, value.keywords
        case MethodType():
            return value.__func__, value.__self__
        case FunctionType() | BuiltinFunctionType():
            if value.__module__ != "__main__" and "<" not in value.__qualname__:
                return value.__module__, value.__qualname__
    raise TypeError(
        f"{value!r} cannot be hashed, so that this step cannot be kept: call the function "
        "directly, or pass arrays, plain values and functions of modules."
    )
