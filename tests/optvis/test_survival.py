import numpy as np
import pandas as pd
import pytest

from utils.networks import layer_features, load_model
from utils.optvis import recipes
from utils.optvis.survival import (
    average_activations,
    choose_added,
    cross_activation,
    first_added,
    render_again,
    survival,
    survival_by_dose,
)
from utils.patches import to_uint8


def test_images_are_shown_to_the_network_that_is_asked(tiny_model):
    generator = np.random.default_rng(0)
    channels = {"early": [3], "late": [5, 0]}
    images = {
        name: {layer: generator.random((len(n), 16, 16, 3)) for layer, n in channels.items()}
        for name in ("start", "pretrained", "finetuned")
    }
    table = cross_activation(tiny_model, images, channels)
    assert table["channel"].tolist() == [3, 5, 0]
    one = to_uint8(images["pretrained"]["late"])
    expected = layer_features(tiny_model, one)["late"]
    row = table[(table["layer"] == "late") & (table["channel"] == 0)]
    assert row["pretrained"].item() == pytest.approx(expected[1, 0], rel=1e-5)
    images["random"] = {layer: pictures[:1] for layer, pictures in images["start"].items()}
    more = cross_activation(tiny_model, images, channels)
    pd.testing.assert_frame_equal(more[table.columns], table, rtol=1e-5)
    assert more["random"].isna().tolist() == [False, False, True]
    assert more["random"][:2].to_list() == pytest.approx(more["start"][:2].to_list(), rel=1e-5)


def test_shares_are_ratios_of_sums_without_dead_channels():
    table = pd.DataFrame(
        {
            "layer": ["a", "a", "a", "b"],
            "channel": [0, 1, 2, 0],
            "start": [1.0, 0, 0, 0],
            "pretrained": [2.0, 1, 5, 3],
            "finetuned": [5.0, 2, 0, 4],  # the third is dead
            "random": [1.0, 0, 0, 0],
        }
    )
    shares = survival(table).set_index(["layer", "images"])
    row = shares.loc[("a", "pretrained")]
    assert row["share"] == pytest.approx((1 + 1) / (4 + 2))
    assert row[["channels", "dead"]].tolist() == [2, 1]
    assert shares.loc[("all", "pretrained"), "share"] == pytest.approx(5 / 10)
    assert shares.loc[("all", "random"), "share"] == 0
    left_out = np.array([(1 + 3) / (2 + 4), (1 + 3) / (4 + 4), (1 + 1) / (4 + 2)])
    error = np.sqrt(2 / 3 * ((left_out - left_out.mean()) ** 2).sum())
    reach = (shares.loc[("all", "pretrained"), "high"] - 0.5) / error
    assert reach == pytest.approx(4.302653, rel=1e-5)  # Student's quantile for three channels
    fewer = survival(table.assign(random=[1.0, 0, np.nan, 1])).set_index(["layer", "images"])
    pd.testing.assert_series_equal(fewer.loc[("a", "pretrained")], row)
    assert fewer.loc[("all", "random"), ["share", "channels", "dead"]].tolist() == [0.1, 3, 0]
    nothing = survival(table.assign(finetuned=0.0)).set_index(["layer", "images"])
    assert np.isnan(nothing.loc[("all", "pretrained"), "share"])


def test_a_dense_block_adds_channels_to_those_before():
    model = load_model("random", "densenet121")
    first = {name: first_added(model, name) for name in ("transition3", "dense4_8", "dense4")}
    assert first == {"transition3": 0, "dense4_8": 512, "dense4": 768}  # growth of 32 per layer
    generator = np.random.default_rng(0)
    responses = {"dense4": generator.random((9, 1024)), "transition3": generator.random((9, 512))}
    chosen = choose_added(model, responses, 24)
    assert min(chosen["dense4"]) >= 768 and min(chosen["transition3"]) < 100
    assert all(len(set(numbers)) == 24 for numbers in chosen.values())


def test_the_endpoint_has_a_ceiling_and_a_floor(tiny_backbone):
    networks = {
        name: load_model("random", tiny_backbone, seed=seed)
        for seed, name in enumerate(("pretrained", "finetuned", "finetuned 2", "shuffled"))
    }
    responses = {"late": np.random.default_rng(0).random((9, 6))}
    recipe = recipes.fast(steps=2)
    images, channels = render_again(networks, responses, recipe, 3, size=16)
    again = ["another start of finetuned", "another start of finetuned 2"]
    assert list(images) == ["start", *networks, *again]
    assert {by_layer["late"].shape for by_layer in images.values()} == {(3, 16, 16, 3)}
    alone = recipes.render_channels({"x": networks["finetuned"]}, channels, recipe, size=16)
    np.testing.assert_allclose(images["finetuned"]["late"], alone["x"]["late"], atol=1e-5)
    assert np.abs(images[again[0]]["late"] - images["finetuned"]["late"]).max() > 0.01
    started = recipe.start(3, size=16)().numpy()
    np.testing.assert_array_equal(images["start"]["late"], started)
    # Each finetuned network is shown its own images, and those of networks that are not finetuned.
    table = average_activations(networks, images, channels)
    names = ["start", "pretrained", "shuffled", "finetuned", "another start"]
    assert list(table) == ["layer", "channel", *names]
    answers = []
    for name, other in zip(("finetuned", "finetuned 2"), again, strict=True):
        shown = {k: images[k] for k in ("start", "pretrained", "shuffled")}
        shown |= {"finetuned": images[name], "another start": images[other]}
        answers.append(cross_activation(networks[name], shown, channels)[names])
    np.testing.assert_allclose(table[names], (answers[0] + answers[1]) / 2, rtol=1e-6)


def test_everything_survives_no_finetuning(tiny_backbone):
    before, after = (load_model("random", tiny_backbone, seed=seed) for seed in (0, 1))
    recipe, channels = recipes.fast(steps=2), {"late": [0, 1, 2]}
    table = survival_by_dose({1: before, 5: after}, before, channels, recipe, size=16)
    whole = table[table["layer"] == "all"].set_index("dose")
    np.testing.assert_allclose(whole.loc[[0, 1], "share"], 1)
    images = recipes.render_channels({"a": before, "b": after}, channels, recipe, size=16)
    shown = {"start": {"late": recipe.start(3, size=16)().numpy()}}
    shown |= {"pretrained": images["a"], "finetuned": images["b"]}
    expected = survival(cross_activation(after, shown, channels)).iloc[-1]
    assert whole.loc[5, "share"] == pytest.approx(expected["share"])
    assert set(table["images"]) == {"pretrained"}
