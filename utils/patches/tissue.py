"""Where a slide has tissue: not glass, not pen, not out of focus."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np
from skimage.color import rgb2gray, rgb2hsv
from skimage.filters import threshold_otsu
from skimage.morphology import closing, disk, opening, remove_small_holes, remove_small_objects

from utils.patches.slides import Slide


@dataclass(frozen=True)
class TissueOptions:
    """How tissue is told from the rest; lengths and areas are of the tissue itself."""

    microns_per_pixel: float = 8.0  # of the overview
    min_saturation: float = 0.05  # below which Otsu's threshold is not trusted: glass only
    closed: float = 24.0  # radius of gaps that are closed, in micrometres
    min_area: float = 0.02  # smallest piece of tissue, and smallest hole, in square millimetres
    min_sharpness: float = 0.3  # of the slide's median; below, it is out of focus
    window: float = 120.0  # side of the window in which sharpness is measured, in micrometres


@dataclass(frozen=True)
class Tissue:
    """A mask of tissue, over an overview of the slide."""

    mask: np.ndarray  # (H, W), bool
    overview: np.ndarray  # (H, W, 3), uint8
    step: float  # pixels of level 0 per pixel of the mask
    pen: float  # share of the overview that is pen
    blurred: float  # share of the tissue that is out of focus, and left out
    options: Mapping[str, float] = field(default_factory=dict)

    def share(self, corners: np.ndarray, side: float) -> np.ndarray:
        """Share of tissue, ``(N,)``, in squares with these corners, ``(N, 2)``, x and y.

        Corners and side are in pixels of level 0; what lies outside of the slide is no tissue.
        """
        total = cv2.integral(self.mask.astype(np.uint8))
        height, width = self.mask.shape
        first = np.floor(np.asarray(corners) / self.step).astype(int)
        last = np.maximum(np.ceil((np.asarray(corners) + side) / self.step).astype(int), first + 1)
        (x0, y0), (x1, y1) = (np.clip(ends, 0, (width, height)).T for ends in (first, last))
        inside = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
        return inside / np.prod(last - first, axis=1)


def find_tissue(slide: Slide, options: TissueOptions | None = None) -> Tissue:
    """Find the tissue of an H&E slide.

    Otsu's threshold (1979) on the saturation of an overview, with small gaps closed and small
    pieces and holes removed. Left out are pen marks, whose hues no mixture of haematoxylin and
    eosin has, and what is out of focus: local contrast of neighbouring pixels that is low for the
    contrast at large, compared with the rest of the slide.

    Parameters
    ----------
    slide : Slide
    options : TissueOptions, optional

    Returns
    -------
    Tissue
    """
    options = options or TissueOptions()
    pixel = max(options.microns_per_pixel, slide.microns_per_pixel)
    overview, step = slide.overview(pixel), slide.pixels(1, pixel)
    pen = pen_marks(overview)
    saturation = cv2.GaussianBlur(rgb2hsv(overview)[..., 1], (0, 0), 1)
    values = saturation[~pen]
    threshold = threshold_otsu(values) if values.size and np.ptp(values) > 0 else 0.0
    mask = (saturation > max(threshold, options.min_saturation)) & ~pen
    footprint = disk(max(1, round(options.closed / pixel)))
    mask = opening(closing(mask, footprint), disk(1))
    small = max(1, int(options.min_area * 1e6 / pixel**2))
    mask = remove_small_holes(remove_small_objects(mask, max_size=small), max_size=small)
    mask &= ~cv2.dilate(pen.astype(np.uint8), disk(2)).astype(bool)
    blurred = mask & out_of_focus(overview, mask, options.window / pixel, options.min_sharpness)
    if not (mask & ~blurred).any():
        raise ValueError(
            f"{slide.path} has no tissue: at most {saturation.max():.2f} saturation (expected over "
            f"{options.min_saturation}), {pen.mean():.0%} pen, {blurred.sum()} pixels of the "
            "overview out of focus. Is it an H&E slide? Change the options of find_tissue."
        )
    left_out = blurred.sum() / max(1, mask.sum())
    mask = remove_small_objects(mask & ~blurred, max_size=small)
    return Tissue(mask, overview, step, pen.mean(), left_out, asdict(options))


def pen_marks(image: np.ndarray) -> np.ndarray:
    """Whether pixels, ``(H, W, 3)``, are of a pen, ``(H, W)``: green, blue or black ink.

    Haematoxylin and eosin leave more red than green, and more blue than green; their mixtures are
    never both dark and grey.
    """
    red, green, blue = (image[..., i].astype(int) for i in range(3))
    spread = image.max(axis=-1).astype(int) - image.min(axis=-1)
    coloured = (green - red > 15) & (spread > 40)
    black = (image.max(axis=-1) < 70) & (spread < 25)
    marks = (coloured | black).astype(np.uint8)
    return cv2.morphologyEx(marks, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)).astype(bool)


def out_of_focus(
    image: np.ndarray, mask: np.ndarray, window: float, min_sharpness: float
) -> np.ndarray:
    """Whether places in a mask, ``(H, W)``, are less sharp than so much of its median."""
    grey = rgb2gray(image).astype(np.float32)
    side = max(3, round(window) | 1)
    fine = cv2.blur(cv2.Laplacian(grey, cv2.CV_32F) ** 2, (side, side))
    mean = cv2.blur(grey, (side, side))
    coarse = cv2.blur(grey**2, (side, side)) - mean**2
    sharpness = np.sqrt(fine / np.maximum(coarse, 1e-6))
    if not mask.any():
        return np.zeros(mask.shape, bool)
    return sharpness < min_sharpness * np.median(sharpness[mask])
