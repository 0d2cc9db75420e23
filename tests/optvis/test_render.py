import numpy as np
import pytest

from utils.networks import layer_features
from utils.optvis import objectives, param, render


def test_batch_equals_single_renders(tiny_model):
    batch = [objectives.channel("late", c) for c in (1, 4, 1, 5, 0)]
    options = {"thresholds": (3, 30), "progress": False}
    together = render.ascend(tiny_model, batch, lambda: param.image(16, batch=5), **options)
    assert together.images.shape == (2, 5, 16, 16, 3) and together.images.dtype == np.float32
    assert 0 <= together.images.min() < together.images.max() <= 1
    assert together.history.shape == (30, 5)
    assert together.history[-1].mean() > together.history[0].mean()
    in_twos = render.ascend(
        tiny_model, batch, lambda: param.image(16, batch=5), batch_size=2, **options
    )
    np.testing.assert_allclose(in_twos.images, together.images, atol=1e-5)
    np.testing.assert_allclose(in_twos.history, together.history, atol=1e-4)
    for i, objective in enumerate(batch):
        alone = render.render_vis(
            tiny_model, objective, lambda i=i: param.image(16, seed=i), seed=i, **options
        )
        np.testing.assert_allclose(alone[:, 0], together.images[:, i], atol=1e-5)


def test_inactive_channels_are_activated_and_the_model_is_untouched(tiny_model):
    late = tiny_model.network.get_layer("deep")
    late.bias.assign(np.float32([0, 0, -1, 0, 0, 0]))  # silent on noise
    before = tiny_model.network.get_weights()
    start = np.uint8(np.round(255 * param.image(16)().numpy()))
    assert layer_features(tiny_model, start)["late"][0, 2] == 0
    for options in ({}, {"last_relus": "linear"}):
        images = render.render_vis(
            tiny_model,
            objectives.channel("late", 2),
            lambda: param.image(16),
            thresholds=[60],
            **options,
        )
        assert layer_features(tiny_model, np.uint8(255 * images[0]))["late"][0, 2] > 0
    for one, other in zip(before, tiny_model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bad_batches(tiny_model):
    target = objectives.channel("late", 0)
    with pytest.raises(ValueError, match="2 images for 1"):
        render.render_vis(tiny_model, target, lambda: param.image(16, batch=2))
    with pytest.raises(ValueError, match=r"thresholds=\[0\]"):
        render.render_vis(tiny_model, target, thresholds=[0])
    with pytest.raises(ValueError, match="0 objectives"):
        render.render_vis(tiny_model, [])
