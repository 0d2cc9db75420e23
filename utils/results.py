"""Results to disk: whole files only, and the same bytes from the same results."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a scratch path to write to; it becomes `path` at the end, or vanishes on an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])
    scratch = path.with_name(f".{os.getpid()}-{path.name.removesuffix(suffix)}{suffix}")
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


class Results:
    """The folder of one experiment.

    Parameters
    ----------
    root : str or Path
        Folder of all results.
    *experiment : str
        Subfolders of this experiment.
    """

    def __init__(self, root: str | Path, *experiment: str):
        self.folder = Path(root, *experiment)
        self.files: list[Path] = []

    def figure(self, figure: Figure, name: str) -> Path:
        """Save a matplotlib figure: ``.png`` for lines and text, ``.jpg`` for many pictures."""
        options = {
            # Without the version of matplotlib, which would change the bytes but not the picture.
            ".png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 9}},
            ".jpg": {"pil_kwargs": {"quality": 88, "optimize": True}},
        }
        if Path(name).suffix not in options:
            raise ValueError(f"a figure is to be called {name!r}; expected .png or .jpg.")
        with self._file(name) as scratch:
            figure.savefig(scratch, **options[Path(name).suffix])
        return self.files[-1]

    def image(self, image: np.ndarray, name: str) -> Path:
        """Save RGB pixels, ``(H, W, 3)``, uint8 or float in [0, 1], as PNG."""
        if image.dtype != np.uint8:
            image = np.uint8(np.round(255 * np.clip(image, 0, 1)))
        with self._file(name) as scratch:
            smallest = [cv2.IMWRITE_PNG_COMPRESSION, 9]
            encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), smallest)[1]
            scratch.write_bytes(encoded.tobytes())
        return self.files[-1]

    def table(self, table: pd.DataFrame, name: str) -> Path:
        """Save a table as CSV, six digits a number."""
        with self._file(name) as scratch:
            table.to_csv(scratch, index=False, float_format="%.6g")
        return self.files[-1]

    def summary(self) -> None:
        """Print where the files went."""
        print(f"{self.folder}: {len(self.files)} files")
        for path in self.files:
            if path.parent == self.folder:
                print(f"  {path.name}")

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        path = self.folder / name
        with whole_file(path) as scratch:
            yield scratch
        self.files.append(path)
