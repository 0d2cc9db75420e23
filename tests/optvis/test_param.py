import numpy as np
import pytest

from utils.optvis import objectives, param, render


def test_fourier_image_against_numpy():
    height, width = 10, 12
    image = param.image(width, height, batch=2, seed=5)
    noise = np.random.default_rng(6).normal(0, 0.01, (2, 3, height, width // 2 + 1))
    np.testing.assert_allclose(image.variables[0].numpy()[1], noise, rtol=1e-6)
    spectrum = noise[0] + 1j * noise[1]
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(width), np.fft.fftfreq(height)))
    scale = np.sqrt(width * height) / np.maximum(frequency, 1 / max(width, height))
    planes = np.fft.irfft2(spectrum * scale, s=(height, width)) / 4
    colors = [[0.26, 0.09, 0.02], [0.27, 0, -0.05], [0.27, -0.09, 0.03]]
    matrix = np.array(colors) / np.linalg.norm(colors, axis=0).max()
    expected = 1 / (1 + np.exp(-np.moveaxis(planes, 0, -1) @ matrix.T))
    np.testing.assert_allclose(image().numpy()[1], expected, atol=1e-5)
    plain = param.image(4, sd=2.0, fft=False, decorrelate=False)
    pixels = np.moveaxis(plain.variables[0].numpy(), 1, -1)
    np.testing.assert_allclose(plain().numpy(), 1 / (1 + np.exp(-pixels)), atol=1e-6)
    assert 1 < pixels.std() < 3


@pytest.mark.parametrize("options", [{}, {"fft": False}, {"decorrelate": False, "decay": 1.5}])
@pytest.mark.parametrize("size", [(12, 10), (9, 9)])
def test_images_start_from_pictures(size, options):
    picture = np.random.default_rng(0).integers(10, 246, (size[1], size[0], 3), dtype=np.uint8)
    image = param.image(*size, batch=2, init=picture, **options)
    np.testing.assert_allclose(image().numpy(), np.stack([picture] * 2) / 255, atol=2e-3)
    with pytest.raises(ValueError, match="init has the shape"):
        param.image(8, init=picture)
    with pytest.raises(ValueError, match="values from 10 to 2"):
        param.image(*size, init=picture.astype(float))


def test_perlin_noise_is_smooth_and_seeded():
    pictures = param.perlin(64, 2, seed=4)
    assert pictures.shape == (2, 64, 64, 3) and 0 <= pictures.min() < pictures.max() <= 1
    np.testing.assert_array_equal(param.perlin(64, seed=5)[0], pictures[1])
    assert pictures.std() > 0.15
    # Gradient noise vanishes at the corners of its cells, whatever the gradients.
    noise = param._gradient_noise(64, 16, np.random.default_rng(0))
    np.testing.assert_allclose(noise[::16, ::16], 0, atol=1e-6)
    assert np.abs(np.diff(noise, axis=1)).max() < 0.2 < np.ptp(noise)


def test_shared_parts_move_all_images(tiny_model):
    image = param.image(16, batch=3, shared=True)
    assert image.shared and image.variables[1].shape[0] == 1
    np.testing.assert_allclose(image().numpy(), param.image(16, batch=3)().numpy(), atol=1e-6)
    options = {"thresholds": [2], "progress": False, "batch_size": 2}
    batch = [objectives.channel("late", c) for c in (1, 1, 4)]
    render.render_vis(tiny_model, batch, lambda: image, **options)
    assert np.abs(image.variables[1].numpy()).max() > 0


def test_small_networks_draw_smooth_images_that_an_ascent_changes(tiny_model):
    images = param.cppn(24, 2, width=6, depth=3, seed=1)
    np.testing.assert_allclose(images().numpy(), 0.5)
    channels = [objectives.channel("late", number) for number in (0, 2)]
    rendered = render.render_vis(tiny_model, channels, lambda: images, [], thresholds=(40,))[0]
    assert rendered.shape == (2, 24, 24, 3) and not np.allclose(rendered[0], rendered[1])
    larger = param.Image(images.variables, param.cppn(47, 2, width=6, depth=3).render, (47, 47), 2)
    np.testing.assert_allclose(larger().numpy()[:, ::2, ::2], rendered, atol=1e-4)
    first, second = (param.cppn(24, 2 - n, width=6, depth=3, seed=1 + n) for n in (0, 1))
    np.testing.assert_array_equal(first.variables[0][1], second.variables[0][0])
