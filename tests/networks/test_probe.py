from dataclasses import replace

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from utils.networks import evaluate, layer_features, linear_probe
from utils.networks.probe import last_features


def test_linear_probe(tiny_model, colored_patches):
    """Beats chance on unseen groups, and is scikit-learn's regression on the pooled features."""
    train, test = colored_patches.folds(4)[0]
    hashed = replace(tiny_model, sha256="0123")
    probe = linear_probe(hashed, train)
    assert probe.sha256 not in ("", "0123")  # the head is a part of the weights
    assert linear_probe(hashed, train, last_features(hashed, train)).sha256 == probe.sha256
    assert linear_probe(hashed, test).sha256 != probe.sha256
    assert linear_probe(tiny_model, train).sha256 == ""
    probability = probe.predict(test.images)
    assert evaluate(test, probability)["auc"] > 0.9
    seen, unseen = (layer_features(tiny_model, patches.images)["late"] for patches in (train, test))
    scaler = StandardScaler().fit(seen)
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(scaler.transform(seen), train.labels)
    expected = regression.predict_proba(scaler.transform(unseen))[:, 1]
    np.testing.assert_allclose(probability, expected, atol=1e-3)
    assert isinstance(probe.network.layers[-1], keras.layers.Dense)
    with pytest.raises(ValueError, match="one class"):
        linear_probe(tiny_model, train.select(train.labels == 0))
