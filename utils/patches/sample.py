"""The bundled sample: two annotated regions of high-grade serous carcinoma."""

import itertools

import numpy as np

from utils import assets
from utils.patches.images import read_image
from utils.patches.patchset import NEOPLASTIC, UNANNOTATED, PatchSet

_SIZE, _BLOCK = 1500, 375  # of a region and of the blocks that are the groups, in pixels
# The stromal region has no nuclei raster. histolytics' own annotation of it
# (hgsc_stromal_cells.parquet) has five neoplastic nuclei, all within these rows and columns.
_STROMAL_NEOPLASTIC = np.s_[715:934, 1316:1419]


def load_sample(
    *,
    patch_size: int = 150,
    stride: int = 56,
    tumor_share: float = 0.5,
    per_class: int | None = None,
    seed: int = 0,
) -> PatchSet:
    """Cut the bundled sample: two regions of high-grade serous carcinoma, H&E, 1500 x 1500 pixels.

    A patch is *tumor* if at least `tumor_share` of its nuclei's area is neoplastic, and *normal* if
    it has nuclei and none of them is neoplastic; others are left out, and so are patches that are
    more than half white. The stromal region has no masks: its patches are normal, but for those
    near its few neoplastic nuclei, left out. Groups are blocks of 375 pixels.

    Parameters
    ----------
    patch_size, stride : int
        Size and step of the patches in pixels. None crosses the border of a block.
    tumor_share : float
        Least share of neoplastic area in a tumor patch, 0 to 1.
    per_class, seed
        As in `load_patches`.

    Returns
    -------
    PatchSet
    """
    if not 0 < patch_size <= _BLOCK:
        raise ValueError(f"patch_size is {patch_size}; expected 1 to {_BLOCK}, the groups' size.")
    types, ids = (
        np.load(assets.path("hgsc", f"hgsc_nest_{kind}_mask.npz"))["nuc_raster"].astype(dtype)
        for kind, dtype in (("type", np.uint8), ("inst", np.int32))
    )
    rasters = {
        "hgsc_nest": (types, ids),
        "hgsc_stromal_he": (np.full_like(types, UNANNOTATED), np.zeros_like(ids)),
    }
    blocks = range(0, _SIZE, _BLOCK)
    offsets = range(0, _BLOCK - patch_size + 1, stride)
    rows = []
    for source, (mask, nuclei) in rasters.items():
        image = read_image(assets.path("hgsc", f"{source}.jpg"))
        white, ambiguous = image.min(axis=-1) > 200, np.zeros(mask.shape, bool)
        ambiguous[_STROMAL_NEOPLASTIC] = source == "hgsc_stromal_he"
        for top, left, dy, dx in itertools.product(blocks, blocks, offsets, offsets):
            y, x = top + dy, left + dx
            window = np.s_[y : y + patch_size, x : x + patch_size]
            label = _label(mask[window], tumor_share)
            if label is None or ambiguous[window].any() or white[window].mean() > 0.5:
                continue
            group = f"{source}/{_BLOCK}px/r{top // _BLOCK}c{left // _BLOCK}"
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
