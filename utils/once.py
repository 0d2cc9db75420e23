"""How long steps are called: `Run.once` keeps their results, `directly` does not."""

from collections.abc import Callable
from typing import Any

Once = Callable[..., Any]  # called as once(function, *arguments, **options)


def directly(function: Callable, *arguments: Any, **options: Any) -> Any:
    """Call a function."""
    return function(*arguments, **options)
