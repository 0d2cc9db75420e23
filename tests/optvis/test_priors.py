from dataclasses import replace

import numpy as np
import pytest

from utils.networks import layer_features
from utils.optvis.crops import Crops
from utils.optvis.maco import imagenet_spectrum, measure_spectrum
from utils.optvis.priors import compare_priors, render_under_priors


def test_networks_are_rendered_and_compared_under_each_prior(tiny_model, sample):
    patches = np.ascontiguousarray(sample.images[::60, :32, :32])
    spectra = {"ImageNet": imagenet_spectrum(), "tissue": measure_spectrum(patches)}
    other = tiny_model.copy()
    for variable in other.network.trainable_variables:
        variable.assign(0.7 * variable)
    models = {"pretrained": tiny_model, "finetuned": replace(other, weights="finetuned")}
    channels = {"early": [1, 3], "late": [0, 2, 4]}
    crops = Crops(count=2, size=16, sides=(0.8, 0.8), noise=0.01)
    options = {"size": 24, "steps": 4, "crops": crops, "seed": 3}
    images = render_under_priors(models, channels, spectra, **options)
    assert {prior: [*by_network] for prior, by_network in images.items()} == {
        "ImageNet": ["pretrained", "finetuned"],
        "tissue": ["pretrained", "finetuned"],
    }
    assert images["tissue"]["finetuned"]["late"].shape == (3, 24, 24, 3)
    assert not np.allclose(
        images["tissue"]["finetuned"]["late"], images["ImageNet"]["finetuned"]["late"]
    )
    responses = {name: layer_features(model, patches) for name, model in models.items()}
    table, summary = compare_priors(models, images, channels, responses)
    assert len(table) == 2 * 2 * 5
    assert summary[["network", "of", "to", "channels"]].to_numpy().tolist() == [
        ["pretrained", "tissue", "ImageNet", 5],
        ["finetuned", "tissue", "ImageNet", 5],
        ["finetuned - pretrained", "tissue", "ImageNet", 5],
    ]
    one = table.query("network == 'pretrained' and layer == 'late' and channel == 2")
    span = one["patches_max"] - one["patches_mean"]
    expected = ((one["image"] - one["patches_mean"]) / span).to_list()
    assert one["reach"].to_list() == pytest.approx(expected)
    wide = table.query("network == 'pretrained'").pivot(
        index=["layer", "channel"], columns="prior", values="reach"
    )
    expected = (wide["tissue"] - wide["ImageNet"]).mean()
    assert summary["difference"][0] == pytest.approx(expected)
    assert summary["difference"][2] == pytest.approx(
        summary["difference"][1] - summary["difference"][0]
    )
    assert (summary["low"] < summary["difference"]).all()
