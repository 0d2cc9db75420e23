import numpy as np
import pytest

from utils.optvis.complexity import complexity_by_layer, compressed_bytes, spectral_slope


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


def test_spectral_slope_of_unfit_images():
    assert np.isnan(spectral_slope(np.full((1, 32, 32, 3), 90, np.uint8))[0])
    with pytest.raises(ValueError, match="expected square"):
        spectral_slope(np.zeros((1, 32, 16, 3), np.uint8))


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
