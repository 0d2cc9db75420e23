"""Where maps lie on the patch: each value where its position looked; turns of the patch."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

from utils.networks import Positions

INTERPOLATIONS = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


class StretchedMaps(UserWarning):
    """Heat maps are spread evenly over the patch, and lie off by so many pixels."""


def place(
    maps: np.ndarray, positions: Positions, size: Sequence[int], interpolation: str = "linear"
) -> np.ndarray:
    """Interpolate maps to pixels between the centres of their positions.

    Outside the outermost centres, the outermost values go on.

    Parameters
    ----------
    maps : array, (n, h, w), float32
    positions : pair of Axis
        The layer's, for patches of this size, from `networks.positions`.
    size : (height, width)
        In pixels.
    interpolation : str
        ``linear``, or another of `INTERPOLATIONS`.

    Returns
    -------
    array, (n, height, width), float32
    """
    counts = tuple(axis.count for axis in positions)
    if maps.shape[1:] != counts:
        raise ValueError(f"maps are {maps.shape[1:]}, but the layer has {counts} positions.")
    rows, columns = positions
    to_position = np.float64(
        [
            [1 / columns.step, 0, -columns.first / columns.step],
            [0, 1 / rows.step, -rows.first / rows.step],
        ]
    )
    flags = INTERPOLATIONS[interpolation] | cv2.WARP_INVERSE_MAP
    options = {"flags": flags, "borderMode": cv2.BORDER_REPLICATE}
    shape = tuple(size[::-1])
    return np.stack([cv2.warpAffine(heat, to_position, shape, **options) for heat in maps])


def stretch(maps: np.ndarray, size: Sequence[int], interpolation: str = "linear") -> np.ndarray:
    """Spread the positions of maps, ``(n, h, w)``, evenly over `size` pixels."""
    flag = INTERPOLATIONS[interpolation]
    return np.stack([cv2.resize(heat, tuple(size[::-1]), interpolation=flag) for heat in maps])


def stretch_errors(positions: Positions, size: Sequence[int]) -> np.ndarray:
    """Pixels from where `stretch` puts the first and the last position to their centres, (2, 2).

    Along height and width; positive values lie further down or to the right.
    """
    errors = []
    for axis, pixels in zip(positions, size, strict=True):
        ends = np.array([0, axis.count - 1])
        stretched = (ends + 0.5) * pixels / axis.count - 0.5
        errors.append(axis.first + ends * axis.step - stretched)
    return np.array(errors)


@dataclass(frozen=True)
class Turned:
    """Images, which may be memory-mapped, turned `k` times by 90 degrees and mirrored."""

    images: np.ndarray
    k: int
    mirror: int  # -1 to mirror them left to right after the turn

    dtype = property(lambda self: self.images.dtype)
    shape = property(lambda self: self.images.shape)  # turns by 90 degrees are for squares only

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> np.ndarray:
        turned = np.rot90(self.images[rows], self.k, axes=(1, 2))
        return np.ascontiguousarray(turned[:, :, :: self.mirror])


def turn_back(maps: np.ndarray, k: int, mirror: int) -> np.ndarray:
    """Undo on maps, ``(n, H, W)``, what `Turned` does to images."""
    return np.rot90(maps[:, :, ::mirror], -k, (1, 2))


def all_turns(size: Sequence[int]) -> list[tuple[int, int]]:
    """List `k` and `mirror` of all turns and mirror images that keep the size."""
    turns = range(4) if size[0] == size[1] else (0, 2)
    return list(product(turns, (1, -1)))


def warn_of_stretch(located: Mapping[str, Positions], size: Sequence[int]) -> None:
    """Say by how much `stretch` errs for each layer."""
    for layer, axes in located.items():
        errors = stretch_errors(axes, size)
        warnings.warn(
            f"{layer}: stretched evenly over {size} pixels, maps lie off by {errors[0, 0]:+.1f} "
            f"(first position) to {errors[0, 1]:+.1f} (last position) pixels along the height.",
            StretchedMaps,
            stacklevel=3,
        )
