"""The bundled sample: two annotated regions of high-grade serous carcinoma."""

import itertools

import numpy as np

from utils import assets
from utils.patches.images import read_image
from utils.patches.patchset import NEOPLASTIC, UNANNOTATED, PatchSet

_SIZE = 1500  # of a region, in pixels
# The stromal region has no nuclei raster. histolytics' own annotation of it
# (hgsc_stromal_cells.parquet) has five neoplastic nuclei, all within these rows and columns.
_STROMAL_NEOPLASTIC = np.s_[715:934, 1316:1419]


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
    it has nuclei and none of them is neoplastic; others are left out. The stromal region has no
    masks: its patches are normal, but for those near its few neoplastic nuclei, left out.

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
    types, ids = (
        np.load(assets.path("hgsc", f"hgsc_nest_{kind}_mask.npz"))["nuc_raster"].astype(dtype)
        for kind, dtype in (("type", np.uint8), ("inst", np.int32))
    )
    rasters = {
        "hgsc_nest": (types, ids),
        "hgsc_stromal_he": (np.full_like(types, UNANNOTATED), np.zeros_like(ids)),
    }
    blocks = range(0, _SIZE - block_size + 1, block_size)
    offsets = range(0, block_size - patch_size + 1, stride)
    rows = []
    for source, (mask, nuclei) in rasters.items():
        image = read_image(assets.path("hgsc", f"{source}.jpg"))
        white, ambiguous = image.min(axis=-1) > 200, np.zeros(mask.shape, bool)
        ambiguous[_STROMAL_NEOPLASTIC] = source == "hgsc_stromal_he"
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


def _label(mask: np.ndarray, tumor_share: float) -> int | None:
    """Class of a patch, None if it is ambiguous; what is not annotated counts as not neoplastic."""
    nuclei, neoplastic = np.sum(mask > 0), np.sum(mask == NEOPLASTIC)
    if nuclei == 0 or 0 < neoplastic < tumor_share * nuclei:
        return None
    return int(neoplastic > 0)
