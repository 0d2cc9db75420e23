"""One kind of progress bar, as plain text, which terminals, Jupyter and papermill all show."""

from typing import Any

from IPython import get_ipython
from IPython.display import display
from tqdm import tqdm


class _Display:
    """A text file that shows its last line as one output of a notebook, updated in place."""

    encoding = "utf-8"  # tqdm draws full blocks for files of this encoding

    def __init__(self) -> None:
        self._handle = None

    def write(self, text: str) -> None:
        """Show a line; tqdm repeats it with a carriage return in front."""
        line = text.strip()
        data = {"text/plain": line}
        if line and self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        elif line:
            self._handle.update(data, raw=True)

    def flush(self) -> None:
        """Do nothing, since `write` shows at once."""


def progress_bar(*arguments: Any, **options: Any) -> tqdm:
    """Make a `tqdm` bar with tqdm's own arguments; loops of under a second show nothing."""
    if getattr(get_ipython(), "kernel", None) is not None:
        # tqdm's widgets stay at 0 % in executed notebooks.
        options = {"file": _Display(), "ncols": 80, **options}
    return tqdm(*arguments, **{"mininterval": 0.5, "delay": 1, **options})
