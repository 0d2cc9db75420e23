import numpy as np

from utils import heatmaps


def test_baseline_maps():
    images = np.full((2, 40, 40, 3), 240, np.uint8)
    images[:, 5:12, 25:32] = (70, 50, 130)  # a nucleus in haematoxylin
    maps = heatmaps.baseline_maps(images)
    assert list(maps) == ["uniform", "centre", "random", "haematoxylin"]
    for heat in maps.values():
        assert heat.shape == (2, 40, 40) and heat.dtype == np.float32
        assert heat.min() >= 0 and heat.max() == 1
    assert maps["haematoxylin"][:, 8, 28].min() > 0.9 and maps["haematoxylin"][0, 30, 10] < 0.1
    assert maps["centre"][0, 20, 20] > 0.95 > maps["centre"][0, 0, 0]
    assert (maps["random"][0] != maps["random"][1]).any()
    again = heatmaps.baseline_maps(images)["random"]
    np.testing.assert_array_equal(maps["random"], again)
    assert maps.keys() == heatmaps.BASELINES.keys()
