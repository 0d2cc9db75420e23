from dataclasses import replace

import numpy as np

from utils import heatmaps
from utils.networks import evaluate, linear_probe


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


def test_baseline_networks(tiny_model, tiny_classifier, colored_patches):
    random = replace(tiny_model.copy(), weights="random")
    networks = {"pretrained": tiny_model, "finetuned": tiny_classifier, "random": random}
    train, held_out = colored_patches.split(folds=2)
    with_heads, auc = heatmaps.baseline_networks(networks, train, held_out)
    assert list(with_heads) == ["finetuned", "pretrained", "random"]
    assert with_heads["finetuned"] is tiny_classifier
    expected = linear_probe(tiny_model, train).predict(held_out.images)
    np.testing.assert_allclose(with_heads["random"].predict(held_out.images), expected, atol=1e-6)
    assert auc == dict.fromkeys(("pretrained", "random"), evaluate(held_out, expected)["auc"])
    alone = heatmaps.baseline_networks(networks, None, held_out)
    assert alone == ({"finetuned": tiny_classifier}, {})
