"""The bundled sample: two annotated regions of high-grade serous carcinoma."""

import itertools

import numpy as np

from utils import assets
from utils.patches.annotations import rasterise, read_polygons
from utils.patches.images import read_image
from utils.patches.patchset import NEOPLASTIC, PatchSet

_SIZE = 1500  # of a region, in pixels


def load_sample(
    *,
    patch_size: int = 150,
    stride: int = 56,
    block_size: int = 375,
    tumor_share: float = 0.5,
    max_empty: float = 0.5,
    per_class: int | None = None,
    seed: int = 0,
) -> PatchSet:
    """Cut the bundled sample: two regions of high-grade serous carcinoma, H&E, 1500 x 1500 pixels.

    A patch is *tumor* if at least `tumor_share` of its nuclei's area is neoplastic, and *normal* if
    it has nuclei and none of them is neoplastic; others are left out, and so are those with one of
    the five scattered neoplastic nuclei of the stromal region.

    Parameters
    ----------
    patch_size, stride, block_size : int
        Size and step of patches, and size of the blocks that none crosses (the groups), in pixels.
    tumor_share, max_empty : float
        Least share of neoplastic area in a tumor patch, and largest of nearly white pixels, 0 to 1.
    per_class, seed
        As in `load_patches`.

    Returns
    -------
    PatchSet
    """
    if not 0 < patch_size <= block_size <= _SIZE or stride < 1:
        raise ValueError(f"expected 0 < {patch_size=} <= {block_size=} <= {_SIZE}, 1 <= {stride=}.")
    rasters = {"hgsc_nest": _nest_masks(), "hgsc_stromal_he": _stromal_masks()}
    blocks = range(0, _SIZE - block_size + 1, block_size)
    offsets = range(0, block_size - patch_size + 1, stride)
    rows = []
    for source, (mask, nuclei) in rasters.items():
        image = read_image(assets.path("hgsc", f"{source}.jpg"))
        white = image.min(axis=-1) > 200
        ambiguous = (mask == NEOPLASTIC) & (source == "hgsc_stromal_he")
        for top, left, dy, dx in itertools.product(blocks, blocks, offsets, offsets):
            y, x = top + dy, left + dx
            window = np.s_[y : y + patch_size, x : x + patch_size]
            label = _label(mask[window], tumor_share)
            if label is None or ambiguous[window].any() or white[window].mean() > max_empty:
                continue
            group = f"{source}/{block_size}px/r{top // block_size}c{left // block_size}"
            rows.append((image[window], label, group, source, (x, y), mask[window], nuclei[window]))
    arrays = map(np.array, zip(*rows, strict=True))
    patches = PatchSet(*arrays, name="hgsc sample", origin=assets.origin("hgsc"))
    return patches.sample(per_class, seed=seed)


def _nest_masks() -> tuple[np.ndarray, np.ndarray]:
    """Types and numbers of the nuclei of the nest."""
    types, numbers = (
        np.load(assets.path("hgsc", f"hgsc_nest_{kind}_mask.npz"))["nuc_raster"]
        for kind in ("type", "inst")
    )
    return types.astype(np.uint8), numbers.astype(np.int32)


def _stromal_masks() -> tuple[np.ndarray, np.ndarray]:
    """Types and numbers of the nuclei of the stromal region, from polygons."""
    path = assets.path("hgsc", "hgsc_stromal_cells.parquet")
    return rasterise(*read_polygons(path), (_SIZE, _SIZE))


def _label(mask: np.ndarray, tumor_share: float) -> int | None:
    """Class of a patch, None if it is ambiguous."""
    nuclei, neoplastic = np.sum(mask > 0), np.sum(mask == NEOPLASTIC)
    if nuclei == 0 or 0 < neoplastic < tumor_share * nuclei:
        return None
    return int(neoplastic > 0)
