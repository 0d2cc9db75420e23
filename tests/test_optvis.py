import cv2
import numpy as np
import pytest
import tensorflow as tf

from utils.models import load_model
from utils.optvis import objectives, param, render, transform
from utils.optvis.complexity import channel_table, compressed_bytes
from utils.rcv import layer_features


def _values(objective_list, activations):
    kinds, rows = objectives.tabulate(objective_list)
    return objectives.values(kinds, rows, activations, len(objective_list)).numpy()


def test_objectives_against_numpy():
    a = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    v = np.float32([1, -2, 3])
    batch = [
        objectives.channel("a", 2),
        objectives.neuron("a", 1) - 0.5 * objectives.neuron("a", 0, x=4, y=1),
        -objectives.direction("a", v) + objectives.channel("a", 0) * 2,
        objectives.deepdream("a") + objectives.total_variation("a"),
    ]
    variation = np.abs(np.diff(a[3], axis=0)).sum() + np.abs(np.diff(a[3], axis=1)).sum()
    expected = [
        a[0, ..., 2].mean(),
        a[1, 2, 3, 1] - 0.5 * a[1, 1, 4, 0],
        -(a[2] @ v).mean() + 2 * a[2, ..., 0].mean(),
        (a[3] ** 2).mean() + variation,
    ]
    np.testing.assert_allclose(_values(batch, {"a": tf.constant(a)}), expected, rtol=1e-5)
    assert objectives.layers(batch) == ["a"]
    with pytest.raises(TypeError, match="by numbers"):
        batch[0] * batch[1]


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
    plain = param.image(4, fft=False, decorrelate=False)
    pixels = np.moveaxis(plain.variables[0].numpy(), 1, -1)
    np.testing.assert_allclose(plain().numpy(), 1 / (1 + np.exp(-pixels)), atol=1e-6)


@pytest.mark.parametrize(
    "move",
    [
        transform.random_rotate([17.0]),
        transform.random_scale([1.2]),
        transform.jitter(6),
        transform.compose(
            [transform.jitter(4), transform.random_scale([0.9]), transform.random_rotate([-8.0])]
        ),
    ],
)
def test_transforms_against_opencv(move):
    generator = np.random.default_rng(0)
    image = cv2.GaussianBlur(generator.random((40, 40, 3)).astype(np.float32), (0, 0), 2)
    uniform = tf.constant(transform.draw(move, [3], 1))
    moved = transform.apply(tf.constant(image[None]), move, uniform).numpy()[0]
    centre = np.array([[1, 0, 19.5], [0, 1, 19.5], [0, 0, 1]])
    back = centre @ move.matrix(uniform).numpy()[0] @ np.linalg.inv(centre)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(image, back[:2], (40, 40), flags=flags, borderValue=(0.5,) * 3)
    inside = np.s_[10:30, 10:30]
    np.testing.assert_allclose(moved[inside], expected[inside], atol=0.01)
    assert np.abs(moved - image).max() > 0.01


def test_transforms_draw_for_each_image_and_step():
    move = transform.compose(transform.standard())
    first, other = transform.draw(move, [0, 1], 1)
    np.testing.assert_array_equal(transform.draw(move, [0], 1)[0], first)
    assert (first != other).all() and (transform.draw(move, [0], 2)[0] != first).all()
    jitter = transform.jitter(8)
    shifts = jitter.matrix(tf.constant(transform.draw(jitter, range(500), 1))).numpy()
    assert set(np.unique(shifts[:, :2, 2])) == set(range(-4, 5))


def test_batch_equals_single_renders(tiny_model):
    batch = [objectives.channel("late", c) for c in (1, 4)]
    together = render.render_vis(
        tiny_model, batch, lambda: param.image(16, batch=2), thresholds=(3, 6), progress=False
    )
    assert together.shape == (2, 2, 16, 16, 3) and together.dtype == np.float32
    assert 0 <= together.min() < together.max() <= 1
    for i, objective in enumerate(batch):
        alone = render.render_vis(
            tiny_model,
            objective,
            lambda i=i: param.image(16, seed=i),
            thresholds=(3, 6),
            seed=i,
            progress=False,
        )
        np.testing.assert_allclose(alone[:, 0], together[:, i], atol=1e-5)


def test_silent_channels_wake_and_the_model_is_untouched(tiny_model):
    late = tiny_model.network.get_layer("deep")
    late.bias.assign(np.float32([0, 0, -1, 0, 0, 0]))  # silent on noise
    before = tiny_model.network.get_weights()
    start = np.uint8(np.round(255 * param.image(16)().numpy()))
    assert layer_features(tiny_model, start)["late"][0, 2] == 0
    images = render.render_channels(tiny_model, {"late": [2]}, size=16, steps=60)["late"]
    assert layer_features(tiny_model, np.uint8(255 * images))["late"][0, 2] > 0
    for one, other in zip(before, tiny_model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rendered_channels_beat_real_patches(sample, real_backbone):
    model = load_model("pretrained", real_backbone)
    layer = model.backbone.visualised_layers[1]
    responses = layer_features(model, sample.images[::5], layers=[layer])
    channels = objectives.sample_channels(responses, 3, seed=1)
    images = render.render_channels(model, channels, size=96, steps=40)
    pixels = {layer: np.uint8(np.round(255 * images[layer]))}
    reached = {layer: layer_features(model, pixels[layer], layers=[layer])[layer]}
    table = channel_table(pixels, channels, reached, responses)
    assert (table["image"] > table["patches_mean"]).all()
    assert table["channel"].tolist() == channels[layer]


def test_constant_channels_are_not_drawn():
    responses = {"a": np.array([[1.0, 0, 2, 5], [1.0, 3, 2, 6]])}
    assert objectives.sample_channels(responses, 2) == {"a": [1, 3]}
    many = {name: np.random.default_rng(0).random((3, 100)) for name in "bc"}
    both = objectives.sample_channels(many, 5)
    assert (
        both["b"] != both["c"] and objectives.sample_channels({"c": many["c"]}, 5)["c"] == both["c"]
    )
    with pytest.raises(ValueError, match="2 channels that vary"):
        objectives.sample_channels(responses, 3)


def test_complexity_grows_with_structure():
    flat = np.full((1, 32, 32, 3), 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    assert compressed_bytes(flat)[0] < 0.2 < 3 < compressed_bytes(noise)[0]


@pytest.mark.parametrize(
    ("objective", "size", "words"),
    [
        (objectives.channel("late", 6), 16, "channels 0 to 5"),
        (objectives.channel("latte", 0), 16, "Nearest: late"),
        (objectives.direction("late", np.ones(3)), 16, "3 numbers"),
        (objectives.channel("late", 0), 4, "at least 8"),
    ],
)
def test_bad_requests(tiny_model, objective, size, words):
    with pytest.raises(ValueError, match=words):
        render.render_vis(tiny_model, objective, lambda: param.image(size))
    with pytest.raises(ValueError, match="2 images for 1"):
        render.render_vis(
            tiny_model, objectives.channel("late", 0), lambda: param.image(16, batch=2)
        )


def test_a_loss_that_is_not_a_number_stops(tiny_model):
    tiny_model.network.get_layer("deep").bias.assign(np.full(6, np.nan, np.float32))
    with pytest.raises(ValueError, match="step 1.*learning_rate"):
        render.render_vis(tiny_model, objectives.channel("late", 0), lambda: param.image(16))
