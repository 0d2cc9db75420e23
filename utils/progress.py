"""One kind of progress bar, as plain text, which terminals, Jupyter and papermill all show."""

from contextlib import suppress
from typing import Any

from distributed import get_worker
from IPython import get_ipython
from IPython.display import display
from tqdm import tqdm


class _Display:
    """A text file whose last line is one output of a notebook, updated in place."""

    encoding = "utf-8"  # tqdm draws full blocks for files of this encoding
    _handle = None

    def write(self, text: str) -> None:
        """Show a state of the bar, which tqdm writes behind a carriage return; "" removes it."""
        state = {"text/plain": text.strip()}
        if "\r" in text and self._handle is not None:
            self._handle.update(state, raw=True)
        elif text.strip():
            self._handle = display(state, raw=True, display_id=True)

    def flush(self) -> None:
        """Do nothing, since `write` shows at once."""


def progress_bar(*arguments: Any, **options: Any) -> tqdm:
    """Make a `tqdm` bar with tqdm's own arguments; loops of under a second show nothing.

    Workers show none: who waits for their results has a bar.
    """
    if getattr(get_ipython(), "kernel", None) is not None:
        # tqdm's widgets stay at 0 % in executed notebooks; each bar has a display of its own.
        options = {"file": _Display(), "ncols": 80, "position": 0, **options}
    with suppress(ValueError):  # not on a worker
        get_worker()
        options["disable"] = True
    return tqdm(*arguments, **{"mininterval": 0.5, "delay": 1, **options})
