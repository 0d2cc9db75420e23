from dataclasses import replace

import numpy as np
import pytest

from utils.networks import Model, constant_share, layer_features, layer_features_and_gradients


def test_features_are_pooled_activations_of_one_pass(tiny_model, images):
    features = layer_features(tiny_model, images, batch_size=2)
    assert list(features) == ["early", "late"]
    for name, pooled in features.items():
        outputs = tiny_model.submodel([name])(tiny_model.preprocess(images), training=False)[name]
        np.testing.assert_allclose(pooled, outputs.numpy().mean(axis=(1, 2)), atol=1e-6)


def test_gradients_against_finite_differences(tiny_classifier, images, tail):
    features, gradients = layer_features_and_gradients(tiny_classifier, images, batch_size=2)
    for layer, pooled in layer_features(tiny_classifier, images).items():
        np.testing.assert_allclose(features[layer], pooled, atol=1e-6)
    activations = tiny_classifier.submodel(["early"])(tiny_classifier.preprocess(images))["early"]
    for channel in range(4):
        move = 1e-3 * np.eye(4, dtype=np.float32)[channel]
        up, down = (tail(activations + sign * move).numpy()[:, 0] for sign in (1, -1))
        slope = (up - down) / 2e-3
        np.testing.assert_allclose(gradients["early"][:, channel], slope, atol=0.02, rtol=0.02)
    vector = np.float32([0.5, -0.5, 0.1, 0.7])  # along an RCV, not only along channels
    up, down = (tail(activations + sign * 1e-3 * vector).numpy()[:, 0] for sign in (1, -1))
    np.testing.assert_allclose(
        gradients["early"] @ vector, (up - down) / 2e-3, atol=0.03, rtol=0.03
    )
    with pytest.raises(ValueError, match="spatial extent"):
        layer_features(tiny_classifier, images, layers=["pool"])
    with pytest.raises(ValueError, match="finetune first"):
        layer_features_and_gradients(
            replace(tiny_classifier, network=tiny_classifier.submodel(["late"])), images
        )


def test_constant_channels_are_counted(planted):
    features = {"layer": np.hstack([planted[0]["layer"], np.ones((480, 5))])}
    assert constant_share(features)["layer"] == 5 / 25


def test_one_pass_per_patch(tiny_classifier, images, monkeypatch):
    seen = []
    preprocess = Model.preprocess
    monkeypatch.setattr(
        Model, "preprocess", lambda self, batch: seen.append(len(batch)) or preprocess(self, batch)
    )
    layer_features_and_gradients(tiny_classifier, images, batch_size=2)
    assert seen == [2, 2, 1]
