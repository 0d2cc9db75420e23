import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from utils.patches import NEOPLASTIC, PatchSet


@pytest.fixture
def annotated_patches(images):
    """Five patches of three groups with a neoplastic and a connective nucleus each."""
    masks = np.zeros(images.shape[:3], np.uint8)
    for i, mask in enumerate(masks):
        mask[2:6, i : i + 4], mask[10:14, 3:9] = NEOPLASTIC, 1
    groups = np.array(["a", "a", "b", "b", "c"])
    positions = np.zeros((5, 2), int)
    numbers = np.arange(0, 10, 2, dtype=np.int32)[:, None, None]  # other nuclei in each patch
    nuclei = np.where(masks > 0, np.where(masks == NEOPLASTIC, 1, 2) + numbers, 0)
    types_and_numbers = masks, nuclei.astype(np.int32)
    return PatchSet(images, np.ones(5, int), groups, groups, positions, *types_and_numbers)


@pytest.fixture
def neighbouring_patches(images):
    """Two patches side by side: a nucleus in the first, and one that the border cuts 1 to 3."""
    nuclei = np.zeros((2, 16, 16), np.int32)
    nuclei[0, 2:6, 2:6], nuclei[0, 8:12, 15:], nuclei[1, 8:12, :3] = 1, 2, 2
    masks = np.where(nuclei > 0, np.uint8(NEOPLASTIC), np.uint8(0))
    names = np.array(["a", "a"])
    positions = np.array([[0, 0], [16, 0]])
    return PatchSet(images[:2], np.ones(2, int), names, names, positions, masks, nuclei)


@pytest.fixture
def fine():
    def fine(coarse, size, layer="late"):
        """Interpolate between the centres of the tiny network's positions; divide by the peak."""
        first, step = {"early": (1, 2), "late": (3, 4)}[layer]  # by hand
        places = [(np.arange(pixels) - first) / step for pixels in size]
        grid = np.meshgrid(*places, indexing="ij")
        placed = [map_coordinates(m, grid, order=1, mode="nearest") for m in np.float64(coarse)]
        return np.float32([heat / max(np.abs(heat).max(), 1e-30) for heat in placed])

    return fine
