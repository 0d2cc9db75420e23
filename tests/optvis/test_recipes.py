import keras
import numpy as np
import pytest

from utils.networks import Model, layer_features, load_model
from utils.optvis import recipes
from utils.optvis.choice import sample_channels
from utils.optvis.complexity import achieved


def test_recipes():
    stages = recipes.paper().stages
    assert [len(stage.rates) for stage in stages] == [512, 1024, 2048]
    assert [stage.total_variation for stage in stages] == [0, 0.025, 0.0025]
    assert stages[2].rates[0] == pytest.approx(stages[0].rates[0] / 10)
    rates = recipes.fast(20).stages[0].rates
    assert (rates[:11] == rates[0]).all() and (np.diff(rates[10:]) < 0).all() and rates[-1] > 0
    with pytest.raises(ValueError, match="steps is 0"):
        recipes.fast(0)


def test_stages_go_on_from_each_other(tiny_model):
    plain, smooth = recipes.Stage(np.full(8, 0.05)), recipes.Stage(np.full(8, 0.05), 0.1)
    other = Model(
        keras.models.clone_model(tiny_model.network), tiny_model.backbone, "random", "", ""
    )
    models = {"pretrained": tiny_model, "random": other}
    variation = {}
    for name, stages in {"one": (plain,), "two": (plain, plain), "smooth": (plain, smooth)}.items():
        recipe = recipes.Recipe(True, stages, 0.9, 0.999)
        assert recipe.steps == 8 * len(stages)
        rendered = recipes.render_channels(models, {"late": [0, 3]}, recipe, size=16)
        assert list(rendered) == list(models) and rendered["random"]["late"].shape == (2, 16, 16, 3)
        variation[name] = np.abs(np.diff(rendered["pretrained"]["late"], axis=1)).sum()
    assert variation["smooth"] < variation["two"] != variation["one"]
    assert not np.allclose(rendered["pretrained"]["late"], rendered["random"]["late"])


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
