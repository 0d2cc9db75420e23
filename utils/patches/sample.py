"""The bundled sample: two annotated regions of high-grade serous carcinoma."""

import itertools

import numpy as np

from utils import assets
from utils.patches.images import read_image
from utils.patches.patchset import NEOPLASTIC, UNANNOTATED, PatchSet

# The stromal region has no nuclei raster. histolytics' own annotation of it
# (hgsc_stromal_cells.parquet) has five neoplastic nuclei, all within this box: x0, y0, x1, y1.
_STROMAL_NEOPLASTIC_BOX = (1316, 715, 1419, 934)


def load_sample(
    *,
    patch_size: int = 150,
    stride: int = 56,
    block_size: int = 375,
    tumor_share: float = 0.5,
    max_empty: float = 0.5,
) -> PatchSet:
    """Cut the bundled sample: two regions of high-grade serous carcinoma, H&E, 1500 x 1500 pixels.

    A patch is *tumor* if at least `tumor_share` of its nuclei's area is neoplastic, and *normal* if
    it has nuclei and none of them is neoplastic. The others are ambiguous and left out. In the
    stromal region, which has no nuclei masks, all patches are normal except those that touch the
    box around its few annotated neoplastic nuclei, which are left out.

    Parameters
    ----------
    patch_size, stride : int
        Size and step of the patches in pixels. None crosses the border of a block.
    block_size : int
        Size in pixels of the blocks, which are the groups; their names carry the size.
    tumor_share : float
        Smallest share of neoplastic area among nuclei of a tumor patch, in (0, 1].
    max_empty : float
        Largest share of nearly white pixels, in [0, 1].

    Returns
    -------
    PatchSet
    """
    if not 0 < patch_size <= block_size <= 1500 or stride < 1:
        raise ValueError(
            f"patch_size={patch_size}, stride={stride}, block_size={block_size}: expected "
            "0 < patch_size <= block_size <= 1500 and stride >= 1."
        )
    types, ids = (
        np.load(assets.path("hgsc", f"hgsc_nest_{kind}_mask.npz"))["nuc_raster"].astype(dtype)
        for kind, dtype in (("type", np.uint8), ("inst", np.int32))
    )
    rasters = {
        "hgsc_nest": (types, ids),
        "hgsc_stromal_he": (np.full_like(types, UNANNOTATED), np.zeros_like(ids)),
    }
    blocks = range(0, 1500 - block_size + 1, block_size)
    offsets = range(0, block_size - patch_size + 1, stride)
    rows = []
    for source, (mask, nuclei) in rasters.items():
        image = read_image(assets.path("hgsc", f"{source}.jpg"))
        white = image.min(axis=-1) > 200
        for top, left, dy, dx in itertools.product(blocks, blocks, offsets, offsets):
            y, x = top + dy, left + dx
            window = np.s_[y : y + patch_size, x : x + patch_size]
            label = _sample_label(source, mask[window], x, y, tumor_share)
            if label is None or white[window].mean() > max_empty:
                continue
            # The size distinguishes the blocks of one size from those of another.
            group = f"{source}/{block_size}px/r{top // block_size}c{left // block_size}"
            row = (image[window], label, group, source, (x, y), mask[window], nuclei[window])
            rows.append(row)
    arrays = map(np.array, zip(*rows, strict=True))
    return PatchSet(*arrays, name="hgsc sample", origin=assets.origin("hgsc"))


def _sample_label(source: str, mask: np.ndarray, x: int, y: int, tumor_share: float) -> int | None:
    if source == "hgsc_stromal_he":
        x0, y0, x1, y1 = _STROMAL_NEOPLASTIC_BOX
        height, width = mask.shape
        return None if x < x1 and y < y1 and x + width > x0 and y + height > y0 else 0
    nuclei, neoplastic = np.sum(mask > 0), np.sum(mask == NEOPLASTIC)
    if nuclei == 0 or 0 < neoplastic < tumor_share * nuclei:
        return None
    return int(neoplastic > 0)
