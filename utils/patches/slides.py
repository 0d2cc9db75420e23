"""Whole slides: their pixel size, and regions at the pixel size that is asked for.

OpenSlide reads Aperio SVS, Hamamatsu NDPI, MIRAX, Philips TIFF, DICOM, tiled TIFF and others.
Coordinates are pixels of level 0, the finest, as in OpenSlide, QuPath, CLAM and TRIDENT.
"""

import functools
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openslide

from utils.files import file_sha256
from utils.progress import progress_bar

SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".czi")
SUFFIXES += (".tif", ".tiff", ".dcm")
PLAUSIBLE = (0.05, 20.0)  # micrometres per pixel; 72 dots per inch, say, is no pixel size
FINEST = 0.9  # of a slide's own pixel size: enlarging by more would invent detail
_KEYS = [  # pairs of properties along x and y, in the order in which they are trusted
    ("openslide.mpp-x", "openslide.mpp-y"),
    ("aperio.MPP", "aperio.MPP"),
]
_UNITS = {"inch": 25_400, "centimeter": 10_000}  # micrometres
_TILE = 2048  # pixels of a level that are read at once


@dataclass(frozen=True)
class Slide:
    """A whole slide: its file, micrometres per pixel and size, ``(width, height)``, at level 0."""

    path: Path
    microns_per_pixel: float
    size: tuple[int, int]
    chroma: bool = False  # whether the file's RGB is luma and chroma, by mistake

    @property
    def name(self) -> str:
        """File name without its suffix."""
        return self.path.stem

    @property
    def identity(self) -> tuple:
        """Hash of the file, by OpenSlide if it has one (of a part only), and the pixel size."""
        quick = _open(self.path).properties.get("openslide.quickhash-1")
        return quick or file_sha256(self.path), self.microns_per_pixel

    def pixels(self, count: float, microns_per_pixel: float) -> float:
        """Convert a number of pixels of some size to pixels of level 0."""
        return count * microns_per_pixel / self.microns_per_pixel

    def read(self, x: int, y: int, width: int, height: int, microns_per_pixel: float) -> np.ndarray:
        """Read a region from the best level, and resample it.

        Parameters
        ----------
        x, y : int
            Upper left corner, in pixels of level 0.
        width, height : int
            Size of the result, in pixels of the size that is asked for.
        microns_per_pixel : float
            Not much finer than the slide's own.

        Returns
        -------
        array, (height, width, 3), uint8, RGB
            What lies outside of the slide, or was not scanned, is white.
        """
        scale = self.pixels(1, microns_per_pixel)
        if not scale >= FINEST:
            raise ValueError(
                f"{self.path} has {self.microns_per_pixel:g} micrometres per pixel, and was asked "
                f"for {microns_per_pixel:g}: detail that was not scanned cannot be read."
            )
        handle = _open(self.path)
        level = handle.get_best_level_for_downsample(scale * 1.01)  # downsamples are not exact
        shape = [
            max(1, round(n * scale / handle.level_downsamples[level])) for n in (width, height)
        ]
        try:
            rgba = np.asarray(handle.read_region((int(x), int(y)), level, tuple(shape)))
        except openslide.OpenSlideError as error:
            _open.cache_clear()  # a handle is of no use after an error
            raise ValueError(f"{self.path} cannot be read at {x}, {y}: {error}.") from error
        rgb = _to_rgb(rgba[..., :3]) if self.chroma else rgba[..., :3]
        alpha = rgba[..., 3:] / np.float32(255)
        rgb = np.uint8(np.rint(rgb * alpha + 255 * (1 - alpha)))
        if shape == [width, height]:
            return rgb
        smaller = shape[0] > width
        interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return cv2.resize(rgb, (width, height), interpolation=interpolation)

    def overview(self, microns_per_pixel: float) -> np.ndarray:
        """Read the whole slide at a coarse pixel size, ``(H, W, 3)`` uint8, tile by tile."""
        scale = self.pixels(1, microns_per_pixel)
        width, height = (math.ceil(length / scale) for length in self.size)
        downsample = _level_downsample(self, scale)
        side = max(16, int(_TILE * downsample / scale))
        image = np.empty((height, width, 3), np.uint8)
        corners = [(x, y) for y in range(0, height, side) for x in range(0, width, side)]
        for x, y in progress_bar(corners, desc=f"overview of {self.name}", unit="tile"):
            shape = min(side, width - x), min(side, height - y)
            place = round(x * scale), round(y * scale)
            image[y : y + side, x : x + side] = self.read(*place, *shape, microns_per_pixel)
        return image


@dataclass(frozen=True, eq=False)
class SlidePatches:
    """Patches of one slide, ``(N, side, side, 3)`` uint8, which are read when they are indexed."""

    slide: Slide
    corners: np.ndarray  # (N, 2), int, x and y, in pixels of level 0
    side: int
    microns_per_pixel: float
    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(N, side, side, 3)``."""
        return len(self.corners), self.side, self.side, 3

    @property
    def identity(self) -> str:
        """Text that stands for the pixels."""
        corners = np.ascontiguousarray(self.corners, np.int64).tobytes().hex()
        return f"{self.slide.identity} {self.side} {self.microns_per_pixel} {corners}"

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        corners = self.corners[rows]
        read = [
            self.slide.read(*corner, self.side, self.side, self.microns_per_pixel)
            for corner in np.atleast_2d(corners)
        ]
        return np.stack(read) if corners.ndim == 2 else read[0]


def open_slide(path: str | Path, *, microns_per_pixel: float | None = None) -> Slide:
    """Open a slide, whose pixel size is read or given, and never guessed.

    Parameters
    ----------
    path : str or Path
        File of a format that OpenSlide reads; of DICOM, any file of the series.
    microns_per_pixel : float, optional
        Micrometres per pixel of level 0; by default what the file says.

    Returns
    -------
    Slide
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a slide.")
    handle = _open(path)
    given = microns_per_pixel is not None
    value = microns_per_pixel if given else _pixel_size(path, handle.properties)
    if not PLAUSIBLE[0] <= value <= PLAUSIBLE[1]:
        source = "microns_per_pixel is" if given else f"{path} says that it has"
        raise ValueError(
            f"{source} {value:g} micrometres per pixel; expected {PLAUSIBLE[0]} to "
            f"{PLAUSIBLE[1]:g}: give microns_per_pixel, of level 0."
        )
    chroma = handle.properties.get("openslide.vendor") == "dicom" and _is_chroma(handle)
    if chroma:
        warnings.warn(
            f"{path} says that it is RGB, but holds luma and chroma, as some converters to DICOM "
            "write it: its colours are converted.",
            stacklevel=2,
        )
    return Slide(path, float(value), tuple(map(int, handle.dimensions)), chroma)


def is_slide(path: str | Path) -> bool:
    """Tell whether OpenSlide reads a file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    bool
    """
    path = Path(path)
    return path.is_file() and openslide.OpenSlide.detect_format(str(path)) is not None


def slide_files(folder: Path, *, first: bool = False) -> list[Path]:
    """List the slides below a folder, in order, or the first one.

    A DICOM series, which is a folder, is listed by its first file.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    series: dict[Path, Path] = {}
    for path in files:
        key = path.parent if path.suffix.lower() == ".dcm" else path
        if key not in series and not path.name.startswith(".") and is_slide(path):
            series[key] = path
            if first:
                break
    return list(series.values())


@functools.lru_cache(maxsize=16)
def _open(path: Path) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(str(path))
    except openslide.OpenSlideError as error:  # also of unknown formats
        raise ValueError(f"{path} cannot be opened as a slide ({error}).") from error


def _is_chroma(handle: openslide.OpenSlide) -> bool:
    """Whether the second and third channel of a slide vary around 128, with glass in their middle.

    In RGB, glass is the brightest in all channels.
    """
    image = np.asarray(handle.get_thumbnail((256, 256)))[..., :3].astype(float)
    glass = image[image[..., 0] >= np.quantile(image[..., 0], 0.95)]
    others = image[..., 1:]
    return bool(
        (np.abs(np.median(glass, axis=0)[1:] - 128) < 8).all()
        and (np.abs(others.mean(axis=(0, 1)) - 128) < 30).all()
        and others.std(axis=(0, 1)).max() < 25
    )


def _to_rgb(chroma: np.ndarray) -> np.ndarray:
    """Convert luma and both chromas, ``(h, w, 3)`` uint8, to RGB (ITU-R BT.601, as JPEG)."""
    return cv2.cvtColor(np.ascontiguousarray(chroma[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)


def _level_downsample(slide: Slide, scale: float) -> float:
    handle = _open(slide.path)
    return handle.level_downsamples[handle.get_best_level_for_downsample(scale * 1.01)]


def _pixel_size(path: Path, properties: Mapping[str, str]) -> float:
    """Read the pixel size, in micrometres, from the properties of a slide."""
    read = [_numbers(properties, *keys) for keys in _KEYS] + [_from_resolution(properties)]
    known = [pair for pair in read if pair]
    if not known:
        raise ValueError(
            f"{path} does not say how large its pixels are: give microns_per_pixel, of level 0 "
            "(0.25 is usual at 40x, 0.5 at 20x, but scanners differ)."
        )
    x, y = known[0]
    if abs(x - y) > 0.02 * x:
        raise ValueError(f"{path} has pixels of {x:g} x {y:g} micrometres; expected squares.")
    return (x + y) / 2


def _numbers(properties: Mapping[str, str], *keys: str) -> tuple[float, float] | None:
    try:
        x, y = (float(properties[key]) for key in keys)
    except (KeyError, ValueError):
        return None
    return (x, y) if x > 0 and y > 0 else None


def _from_resolution(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Convert pixels per inch or centimetre, where the unit is one of these."""
    unit = _UNITS.get(properties.get("tiff.ResolutionUnit", ""))
    dots = _numbers(properties, "tiff.XResolution", "tiff.YResolution")
    return (unit / dots[0], unit / dots[1]) if unit and dots else None
