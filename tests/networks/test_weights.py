import random
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from utils import assets
from utils.files import file_sha256
from utils.networks import WeightsUnavailable, backbones, choose_backbone, load_model
from utils.networks.weights import load_finetuned, randomise

VARIABLE = "INCEPTIONV3_IMAGENET_WEIGHTS"


def test_random_depends_on_the_seed_alone():
    first = load_model("random", "densenet121", seed=0)
    random.seed(1)  # from which Keras draws seeds of its own
    again, other = (load_model("random", "densenet121", seed=s) for s in (0, 1))
    assert first.sha256 == again.sha256 != other.sha256
    kernels = [w for w in first.network.trainable_variables if w.name == "kernel"]
    limit = np.sqrt(6 / (np.prod(kernels[0].shape[:3]) + np.prod(kernels[0].shape[:2]) * 64))
    assert 0.9 * limit < np.abs(kernels[0].numpy()).max() <= limit


def test_densenet_is_pretrained():
    neighbours = {}
    for name in ("random", "pretrained"):
        network = load_model(name, "densenet121").network
        filters = network.get_layer("conv1_conv").kernel.numpy()
        neighbours[name] = np.corrcoef(filters[:, :-1].ravel(), filters[:, 1:].ravel())[0, 1]
    # Filters that learned from images are smooth: neighbouring weights correlate.
    assert abs(neighbours["random"]) < 0.1 < 0.3 < neighbours["pretrained"]
    assert network.get_layer("bn").moving_variance.numpy().std() > 0


def test_shuffled_kernels_keep_their_values_and_lose_their_order(tiny_backbone, tmp_path):
    def application(include_top, weights, input_shape):
        image = keras.Input(input_shape)
        x = keras.layers.Conv2D(8, 3, bias_initializer="random_normal")(image)
        return keras.Model(image, keras.layers.BatchNormalization()(x))

    network = application(False, None, (None, None, 3))
    generator = np.random.default_rng(0)
    network.set_weights([generator.random(w.shape) for w in network.weights])
    network.save_weights(tmp_path / "w.weights.h5")
    source = tmp_path / "w.weights.h5", "made for this test"
    backbone = replace(tiny_backbone, application=application, pretrained=lambda: source)
    pretrained_model = load_model("pretrained", backbone)
    shuffled, again, other = (load_model("shuffled", backbone, seed=s) for s in (0, 0, 1))
    assert shuffled.title == "shuffled Tiny" and "seed 1" in other.origin
    assert shuffled.sha256 == again.sha256
    assert len({model.sha256 for model in (pretrained_model, shuffled, other)}) == 3
    before, after, repeated = (m.network.get_weights() for m in (pretrained_model, shuffled, again))
    np.testing.assert_array_equal(after[0], repeated[0])
    assert (before[0] != after[0]).mean() > 0.9
    np.testing.assert_array_equal(np.sort(before[0], axis=None), np.sort(after[0], axis=None))
    for unchanged, value in zip(before[1:], after[1:], strict=True):  # bias and BatchNormalization
        np.testing.assert_array_equal(value, unchanged)


def test_missing_files_and_names(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="expected 'random', 'shuffled', 'pretrained'"):
        load_model("finetunde")
    with pytest.raises(WeightsUnavailable, match=r"utils\.networks finetune"):
        load_finetuned(backbones.INCEPTIONV3, tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.h5"))
    with pytest.raises(FileNotFoundError, match=VARIABLE):
        load_model("pretrained", "inceptionv3")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        load_model(tmp_path / "text.h5")


def test_auto_says_what_it_takes(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(backbones, "_KERAS_URL", "http://127.0.0.1:9/")
    empty = partial(keras.utils.get_file, cache_dir=tmp_path)
    monkeypatch.setattr(keras.utils, "get_file", empty)
    assert choose_backbone("auto") == "densenet121"
    printed = capsys.readouterr().out
    assert "DenseNet-121" in printed and VARIABLE in printed
    with pytest.raises(WeightsUnavailable):
        load_model("shuffled", "inceptionv3")
    with pytest.raises(WeightsUnavailable, match="ResNet-50's.*RESNET50_IMAGENET_WEIGHTS"):
        load_model("pretrained", "resnet50")


def test_each_backbone_has_its_own_pretrained_weights(tiny_backbone, tmp_path):
    """A third backbone gets the weights of its entry, or an error, and never those of another."""
    with pytest.raises(WeightsUnavailable, match="Tiny has no pretrained weights"):
        load_model("pretrained", tiny_backbone)
    network = tiny_backbone.build()
    network.get_layer("deep").bias.assign(np.arange(6))
    path = tmp_path / "tiny.weights.h5"
    network.save_weights(path)
    with_weights = replace(tiny_backbone, pretrained=lambda: (path, "made for this test"))
    model = load_model("pretrained", with_weights)
    assert model.origin == "made for this test" and model.sha256 == file_sha256(path)
    np.testing.assert_array_equal(model.network.get_layer("deep").bias, np.arange(6))


def test_origin_names_the_pinned_file():
    origin = load_model("pretrained", "densenet121").origin
    assert origin == assets.origin("densenet") and "sha256:" in origin


def test_randomised_layers_depend_on_the_seed_alone(tiny_classifier):
    deep = tiny_classifier.network.get_layer("deep")
    kernels = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(len(kernels))
        randomise(deep, seed)
        kernels.append(deep.kernel.numpy())
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any() and not deep.bias.numpy().any()
    expected = keras.initializers.GlorotUniform(seed=1)(deep.kernel.shape)
    np.testing.assert_array_equal(kernels[0], expected)


def test_weights_that_are_no_numbers_are_refused(tiny_classifier, tmp_path):
    path = tmp_path / "broken.keras"
    deep = tiny_classifier.network.get_layer("deep")
    kernel, bias = deep.get_weights()
    kernel[0, 0, 0, 0] = np.nan
    deep.set_weights([kernel, bias])
    tiny_classifier.network.save(path)
    with pytest.raises(ValueError, match=r"broken.keras has weights .* in \['deep/kernel'\]"):
        load_model(path, tiny_classifier.backbone)
