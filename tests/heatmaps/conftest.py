import cv2
import numpy as np
import pytest

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
    def fine(coarse, size):
        """Upsample as the documentation says, and divide by the maximum."""
        resized = np.stack([cv2.resize(np.float32(m), size) for m in coarse])
        peaks = resized.max(axis=(1, 2), keepdims=True)
        return np.divide(resized, peaks, out=np.zeros_like(resized), where=peaks > 0)

    return fine
