import keras
import numpy as np
import pytest

from utils.networks import Model, layer_features, load_model
from utils.optvis import recipes
from utils.optvis.choice import sample_channels
from utils.optvis.complexity import achieved


def test_recipes():
    paper = recipes.named("paper")
    assert [len(rates) for rates in paper.rates] == [512, 1024, 2048]
    assert paper.total_variation == (0, 0.025, 0.0025)
    assert paper.rates[2][0] == pytest.approx(paper.rates[0][0] / 10)
    (rates,) = recipes.named("fast", steps=20).rates
    assert (rates[:11] == rates[0]).all() and (np.diff(rates[10:]) < 0).all() and rates[-1] > 0
    with pytest.raises(ValueError, match="'slow'; expected fast, lucid, paper"):
        recipes.named("slow")
    with pytest.raises(ValueError, match="steps is 0"):
        recipes.named("lucid", steps=0)


def test_stages_go_on_from_each_other(tiny_model, monkeypatch):
    stage = np.full(8, 0.05)
    other = Model(
        keras.models.clone_model(tiny_model.network), tiny_model.backbone, "random", "", ""
    )
    models = {"pretrained": tiny_model, "random": other}
    variation = {}
    for name, weights in {"one": (0,), "two": (0, 0), "smooth": (0, 0.1)}.items():
        recipe = recipes.Recipe((stage,) * len(weights), weights, from_perlin=True)
        rendered = recipes.render_channels(models, {"late": [0, 3]}, recipe, size=16)
        assert list(rendered) == list(models) and rendered["random"]["late"].shape == (2, 16, 16, 3)
        variation[name] = np.abs(np.diff(rendered["pretrained"]["late"], axis=1)).sum()
    assert variation["smooth"] < variation["two"] != variation["one"]
    assert not np.allclose(rendered["pretrained"]["late"], rendered["random"]["late"])
    options = {"size": 16, "batch_size": 1}
    singly = recipes.render_channels(models, {"late": [0, 3]}, recipe, **options)
    np.testing.assert_allclose(singly["random"]["late"], rendered["random"]["late"], atol=1e-5)
    monkeypatch.setattr(recipes, "CHANNELS", 1)
    chunked = recipes.render_channels(models, {"late": [0, 3]}, recipe, size=16)
    np.testing.assert_allclose(chunked["random"]["late"], rendered["random"]["late"], atol=1e-5)
    fewer = {"fewer": {"pretrained": 1}, "size": 16}
    for chunk in (1, 2):
        monkeypatch.setattr(recipes, "CHANNELS", chunk)
        some = recipes.render_channels(models, {"late": [0, 3]}, recipe, **fewer)
        assert {name: len(images["late"]) for name, images in some.items()} == {
            "pretrained": 1,
            "random": 2,
        }
        for name, images in some.items():
            expected = rendered[name]["late"][: len(images["late"])]
            np.testing.assert_allclose(images["late"], expected, atol=1e-5)
    options["last_relus"] = "linear"
    linear = recipes.render_channels(models, {"late": [0, 3]}, recipe, **options)
    assert not np.allclose(linear["random"]["late"], rendered["random"]["late"], atol=1e-2)


def test_early_layers_take_half_of_the_steps(tiny_model):
    schedule = recipes.by_depth("fast", ["early", "middle", "late"], steps=5)
    assert {k: len(v.rates[0]) for k, v in schedule.items()} == {"early": 3, "middle": 5, "late": 5}
    channels = {"early": [1], "late": [2]}
    both = recipes.render_channels({"x": tiny_model}, channels, schedule, size=16)["x"]
    for layer, numbers in channels.items():
        one = {layer: numbers}
        alone = recipes.render_channels({"x": tiny_model}, one, schedule[layer], size=16)["x"]
        np.testing.assert_array_equal(both[layer], alone[layer])


def test_rendered_channels_beat_real_patches(sample, real_backbone):
    model = load_model("pretrained", real_backbone)
    layer = model.backbone.visualised_layers[1]
    patches = sample.images[:: len(sample) // 500][:500]
    responses = layer_features(model, patches, layers=[layer])
    channels = sample_channels(responses, 3, seed=1)
    images = recipes.render_channels({"it": model}, channels, recipes.fast(40), size=96)
    table = achieved({"it": model}, images, channels, {"it": responses})
    assert len(patches) == 500 and (table["image"] > table["patches_mean"]).all()
    assert table["channel"].tolist() == channels[layer]
