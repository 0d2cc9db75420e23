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
    return PatchSet(images, np.ones(5, int), groups, groups, positions, masks)


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
