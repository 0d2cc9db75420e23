import cv2
import numpy as np
import pytest

from utils.patches import load_folder, load_patches


def test_folder(tmp_path):
    for name, value in (("normal", 40), ("tumor", 220)):
        for patient in range(2):
            (tmp_path / name / f"p{patient}").mkdir(parents=True)
            for i in range(2):
                image = np.full((20, 20, 3), (value, 0, 0), np.uint8)  # blue, as OpenCV writes it
                cv2.imwrite(str(tmp_path / name / f"p{patient}" / f"{i}.png"), image)
    patches = load_patches(tmp_path)
    assert patches.labels.tolist() == [0] * 4 + [1] * 4 and set(patches.groups) == {"p0", "p1"}
    assert (patches.images[0, 0, 0] == [0, 0, 40]).all()
    assert load_folder(tmp_path, patch_size=10).images.shape == (8, 10, 10, 3)
    cv2.imwrite(str(tmp_path / "tumor" / "p1" / "z.png"), np.zeros((9, 20, 3), np.uint8))
    with pytest.raises(ValueError, match="z.png is 9 x 20"):
        load_folder(tmp_path)
    (tmp_path / "tumor" / "p1" / "z.png").write_text("no image")
    with pytest.raises(ValueError, match="z.png cannot be read"):
        load_folder(tmp_path)
