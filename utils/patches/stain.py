"""Patches of one set with the colours and the size of another: what else could make them differ.

The colours are matched as a whole (Reinhard et al. 2001), here in CIELAB instead of their space:
every channel of the set gets the mean and the standard deviation that it has in the reference.
"""

import warnings
from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np
from skimage.color import lab2rgb, rgb2lab

from utils.patches.images import to_uint8
from utils.patches.patchset import PatchSet
from utils.progress import progress_bar


def match_stain(patches: PatchSet, reference: PatchSet) -> PatchSet:
    """Match the mean and the standard deviation of each CIELAB channel to those of another set.

    One transform for the whole set, of moments over all its pixels, so that patches differ from
    each other as before. Colours that leave the range of RGB are cut off.

    Parameters
    ----------
    patches : PatchSet
        N patches, whose images on disk are read once.
    reference : PatchSet
        Patches with the colours to match, of any size.

    Returns
    -------
    PatchSet
        The patches with other images, in memory, uint8; its origin names the reference.
    """
    images = np.empty(patches.images.shape, np.uint8)
    for place, image in enumerate(patches.images):
        images[place] = image
    mean, deviation = _lab_moments(images, f"colours of {patches.name}")
    target_mean, target_deviation = _lab_moments(reference.images, f"colours of {reference.name}")
    scale = np.divide(target_deviation, deviation, out=np.ones(3), where=deviation > 0)
    for image in progress_bar(images, desc="match stain", unit="patch"):
        matched = (rgb2lab(image) - mean) * scale + target_mean
        with warnings.catch_warnings():  # of colours that are cut off
            warnings.simplefilter("ignore", UserWarning)
            image[:] = to_uint8(lab2rgb(matched))
    origin = f"{patches.origin}, colours matched to {reference.origin}"
    return replace(patches, images=images, origin=origin)


def _lab_moments(images: Iterable[np.ndarray], description: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the CIELAB channels over all pixels, ``(3,)`` each."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for image in progress_bar(images, desc=description, unit="patch"):
        lab = rgb2lab(image).reshape(-1, 3)
        count += len(lab)
        total += lab.sum(axis=0)
        squares += (lab**2).sum(axis=0)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def resize(patches: PatchSet, side: int) -> PatchSet:
    """Resize patches to squares.

    Parameters
    ----------
    patches : PatchSet
        N patches, whose images on disk are read once.
    side : int
        Height and width, in pixels; patches that have them are returned as they are.

    Returns
    -------
    PatchSet
        Images, in memory, averaged over areas or interpolated linearly, and masks by their nearest
        pixels. Unless positions are in pixels of level 0, they are in those of a source that is
        resized as the patches are, so that patches overlap if they did before.
    """
    if side < 1:
        raise ValueError(f"side is {side}; expected at least 1 pixel.")
    height, width = patches.images.shape[1:3]
    if height == width == side:
        return patches
    smooth = cv2.INTER_AREA if side < max(height, width) else cv2.INTER_LINEAR
    arrays = {"images": _resized(patches.images, side, smooth)}
    for name in ("masks", "nuclei"):
        if (array := getattr(patches, name)) is not None:
            arrays[name] = _resized(array, side, cv2.INTER_NEAREST_EXACT)
    # Rounded down, patches that touched touch still, and those farther apart are no nearer.
    scaled = patches.positions * side // np.array([width, height])
    positions = np.where(patches.positions < 0, patches.positions, scaled)
    if patches.source_microns is not None:
        positions = patches.positions
    if patches.microns_per_pixel:
        arrays["microns_per_pixel"] = patches.microns_per_pixel * width / side
    origin = f"{patches.origin}, resized to {side} x {side} pixels"
    return replace(patches, **arrays, positions=positions, origin=origin)


def _resized(arrays: np.ndarray, side: int, interpolation: int) -> np.ndarray:
    """Resize arrays, ``(N, H, W, ...)``, read one by one."""
    results = np.empty((len(arrays), side, side, *arrays.shape[3:]), arrays.dtype)
    for place, array in enumerate(progress_bar(arrays, desc="resize", unit="patch")):
        results[place] = cv2.resize(array, (side, side), interpolation=interpolation)
    return results
