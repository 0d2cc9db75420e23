from dataclasses import replace

import keras
import numpy as np
import pytest

from utils.networks import add_noise, recalibrate, shuffle_labels
from utils.networks.model import Model


@pytest.fixture
def with_norm(tiny_model):
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, name="first", use_bias=False)(image)
    x = keras.layers.BatchNormalization(name="norm", momentum=0.9)(x)
    network = keras.Model(image, keras.layers.Activation("relu", name="late_relu")(x))
    return Model(network, tiny_model.backbone, "random", "test", "0123")


def test_recalibrated_statistics_are_those_of_the_patches(with_norm, images):
    before = with_norm.network.get_weights()
    changed = recalibrate(with_norm, images, batch_size=len(images))
    first = keras.Model(changed.network.inputs, changed.network.get_layer("first").output)
    values = np.asarray(first(changed.preprocess(images))).reshape(-1, 4)
    _, _, mean, variance = changed.network.get_layer("norm").get_weights()
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(variance, values.var(axis=0), rtol=1e-3)
    for old, new in zip(before, with_norm.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert changed.sha256 not in ("", "0123") and "5 patches" in changed.origin
    halves = recalibrate(with_norm, images[:4], batch_size=2)  # the mean over batches
    means = [
        recalibrate(with_norm, images[i : i + 2]).network.get_layer("norm").get_weights()[2]
        for i in (0, 2)
    ]
    found = halves.network.get_layer("norm")
    np.testing.assert_allclose(found.get_weights()[2], np.mean(means, axis=0), rtol=1e-4)
    assert found.momentum == 0.9


def test_noise_has_the_norm_of_the_change(tiny_model, tiny_classifier):
    changed = replace(tiny_classifier.copy(), weights="finetuned")
    for variable in changed.network.trainable_variables:
        variable.assign(np.asarray(variable) * 1.1)
    for before in (tiny_model, tiny_classifier):
        noisy = add_noise(before, changed, seed=1)
        assert not np.array_equal(noisy.network.get_weights()[0], changed.network.get_weights()[0])
        for old, new, other in zip(
            before.network.get_weights(),
            changed.network.get_weights(),
            noisy.network.get_weights(),
            strict=False,
        ):
            norms = np.linalg.norm(new - old), np.linalg.norm(other - old)
            assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    again = add_noise(tiny_model, changed, seed=1)
    assert again.sha256 == ""  # since these networks have none


def test_shuffled_labels_are_permuted(colored_patches):
    shuffled = shuffle_labels(colored_patches, seed=1)
    assert (shuffled.labels != colored_patches.labels).any()
    assert sorted(shuffled.labels) == sorted(colored_patches.labels)
    assert shuffled.sha256 != colored_patches.sha256 and "seed 1" in shuffled.origin
