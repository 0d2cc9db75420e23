import numpy as np
import pandas as pd
import pytest

from utils.networks import layer_features
from utils.optvis.complexity import (
    achieved,
    achieved_by_layer,
    average_finetunings,
    beaten,
    complexity_by_layer,
    compressed_bytes,
    spectral_slope,
)
from utils.patches import to_uint8


@pytest.fixture
def complexity_table():
    """Measures of channels, which finetuning changes in the deep layers."""

    def table(change):
        generator = np.random.default_rng(0)
        rows = []
        for layer in "abcd":
            for channel in range(30):
                base = generator.normal(2, 0.5)
                values = {"pretrained": base, "random": 1.0, "finetuned": base}
                values["finetuned"] += generator.normal(change if layer in "cd" else 0, 0.05)
                rows += [(n, layer, channel, v, v - 5) for n, v in values.items()]
        columns = ["network", "layer", "channel", "bytes_per_pixel", "spectral_slope"]
        return pd.DataFrame(rows, columns=columns)

    return table


def test_compressed_bytes_grow_with_structure():
    flat = np.full((1, 32, 32, 3), 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    assert compressed_bytes(flat)[0] < 0.2 < 3 < compressed_bytes(noise)[0]


@pytest.mark.parametrize("slope", [0.0, -1.0, -2.0, -3.0])
def test_spectral_slope_of_noise_with_a_known_one(slope):
    size, generator = 128, np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    amplitude = np.maximum(frequency, 1 / size) ** (slope / 2)
    waves = np.fft.ifft2(np.fft.fft2(generator.normal(size=(6, size, size))) * amplitude).real
    waves *= 30 / waves.std(axis=(1, 2), keepdims=True)
    pictures = np.uint8(np.clip(waves + 128, 0, 255).round()[..., None].repeat(3, axis=-1))
    assert spectral_slope(pictures).mean() == pytest.approx(slope, abs=0.15)


def test_spectral_slope_without_contrast():
    assert np.isnan(spectral_slope(np.full((1, 32, 32, 3), 90, np.uint8))[0])


def test_complexity_by_layer_is_paired_over_channels(complexity_table):
    complexity = complexity_by_layer(complexity_table(-0.2)).set_index(
        ["layer", "measure", "network"]
    )
    change = complexity.loc[("c", "bytes_per_pixel", "finetuned - pretrained")]
    assert change["low"] < -0.2 + 0.02 and change["high"] > -0.2 - 0.02 and change["n"] == 30
    assert change["high"] - change["low"] < 0.06  # channels differ by ten times as much
    alone = complexity.loc[("c", "bytes_per_pixel", "pretrained")]
    assert alone["high"] - alone["low"] > 0.2
    null = complexity.loc[("a", "spectral_slope", "finetuned - pretrained")]
    assert null["low"] < 0 < null["high"]
    table = complexity_table(-0.2)
    single = complexity_by_layer(table[table["channel"] == table["channel"].min()])
    assert single["mean"].notna().all() and single[["low", "high"]].isna().all(axis=None)


def test_achieved_compares_each_image_with_the_patches(tiny_model, images):
    channels = {"late": [4, 1], "early": [2]}
    generator = np.random.default_rng(0)
    rendered = {
        name: {layer: generator.random((len(n), 16, 16, 3)) for layer, n in channels.items()}
        for name in ("first toolbox", "second toolbox")
    }
    networks = dict.fromkeys(rendered, tiny_model)
    features = layer_features(tiny_model, images)
    calls = []

    def once(function, *args, **kwargs):
        calls.append(function)
        return function(*args, **kwargs)

    responses = dict.fromkeys(rendered, features)
    table = achieved(networks, rendered, channels, responses, once=once)
    assert calls == [layer_features] * 2
    assert table["network"].tolist() == ["first toolbox"] * 3 + ["second toolbox"] * 3
    for row in table.itertuples():
        index = channels[row.layer].index(row.channel)
        picture = to_uint8(rendered[row.network][row.layer][[index]])
        activation = layer_features(tiny_model, picture)[row.layer][0, row.channel]
        assert row.image == pytest.approx(activation, rel=1e-5)
        assert row.patches_mean == features[row.layer][:, row.channel].mean()
        assert row.patches_max == features[row.layer][:, row.channel].max()
        assert row.bytes_per_pixel == compressed_bytes(picture)[0]
    pd.testing.assert_frame_equal(table, achieved(networks, rendered, channels, responses))

    table.loc[:, "image"] = [9.0, -9.0, 9.0, -9.0, -9.0, -9.0]
    counts = beaten(table)
    assert counts["beating"].to_dict() == {"first toolbox": 2, "second toolbox": 0}
    assert (counts["images"] == 3).all()
    by_layer = achieved_by_layer(table)
    assert list(by_layer.index) == ["late", "early"]
    assert by_layer.loc["late", ("first toolbox", "image")] == 0


def test_finetuned_networks_are_averaged_by_channel():
    rows = [
        (name, "a", channel, value * channel)
        for name, value in (("pretrained", 1.0), ("finetuned", 2.0), ("finetuned 2", 4.0))
        for channel in (3, 5)
    ]
    table = pd.DataFrame(rows, columns=["network", "layer", "channel", "image"])
    averaged = average_finetunings(table).set_index(["network", "channel"])["image"]
    assert averaged.to_dict() == {
        ("pretrained", 3): 3,
        ("pretrained", 5): 5,
        ("finetuned", 3): 9,
        ("finetuned", 5): 15,
    }
