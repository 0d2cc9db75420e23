import numpy as np
import pytest

from utils.heatmaps import explain
from utils.heatmaps.pointing import energy_inside
from utils.heatmaps.quantus import for_quantus


def test_network_and_maps_are_the_same(tiny_classifier, images):
    network, explainer = for_quantus(tiny_classifier)
    inputs = images.astype(np.float32)
    logits = network.predict(inputs, verbose=0)
    odds = tiny_classifier.log_odds(images)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], odds, atol=1e-5)
    maps = explainer(network, inputs, np.array([1, 0, 1, 1, 0]))
    by_class = [explain(tiny_classifier, images, target=t)["gradcam"] for t in ("normal", "tumor")]
    for index, target in enumerate([1, 0, 1, 1, 0]):
        np.testing.assert_allclose(maps[index, ..., 0], by_class[target][index], atol=1e-5)


def test_measures_of_quantus(tiny_classifier, annotated_patches):
    quantus = pytest.importorskip("quantus")
    network, explainer = for_quantus(tiny_classifier)
    masks = annotated_patches.masks == 3
    options = {"explain_func": explainer, "channel_first": False, "s_batch": masks[:, None]}
    arguments = network, np.float32(annotated_patches.images), annotated_patches.labels
    measure = quantus.RelevanceMassAccuracy(disable_warnings=True)
    inside = measure(*arguments, **options)
    maps = explain(tiny_classifier, annotated_patches.images)["gradcam"]
    np.testing.assert_allclose(inside, energy_inside(maps, masks), rtol=1e-4)
