import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.networks import Model, layer_features
from utils.optvis import objectives, param, render, transform
from utils.optvis.render import Ascent


def test_gradients_against_finite_differences(tiny_classifier, objective_values):
    batch = [
        objectives.channel("late", 1) + 0.2 * objectives.class_logit("tumor"),
        objectives.neuron("early", 2) - 0.01 * objectives.total_variation(),
        objectives.direction("late", np.arange(6), cossim_pow=1)
        - 0.1 * objectives.L2(constant=0.4)
        + 0.1 * objectives.penalize_boundary_complexity(3),
        objectives.deepdream("late") - 0.01 * objectives.L1("early") - objectives.diversity("late"),
    ]
    image = param.image(16, batch=4, sd=1.0)
    start = image.variables[0].numpy()
    still, optimizer = transform.compose([]), keras.optimizers.SGD(1.0)
    ascent = Ascent(tiny_classifier, batch, image, still, optimizer, last_relus="kept")
    ascent.run(batch, image, [1])
    gradient = image.variables[0].numpy() - start  # one step of rate 1 up the sum of objectives
    network = tiny_classifier.submodel(["early", "late"], logit=True)

    def total(values):
        pixels = image.render([tf.constant(values, tf.float32)])
        activations = network(tiny_classifier.preprocess(255 * pixels)) | {"input": pixels}
        return np.float64(objective_values(batch, activations)).sum()

    for seed in range(5):
        # Uphill, so that the kinks of ReLU and of absolute values matter little.
        way = np.sign(gradient) * np.random.default_rng(seed).random(start.shape)
        difference = (total(start + 1e-3 * way) - total(start - 1e-3 * way)) / 2e-3
        np.testing.assert_allclose((gradient * way).sum(), difference, rtol=0.01)


def test_one_graph_serves_all_channels_and_weights(tiny_model):
    batch = [objectives.channel("late", c) for c in range(6)]
    image = param.image(16, batch=6)
    ascent = Ascent(
        tiny_model,
        batch,
        image,
        transform.compose(transform.standard()),
        keras.optimizers.Adam(0.05),
        batch_size=2,
    )
    ascent.run(batch, image, [2])
    other = Model(
        keras.models.clone_model(tiny_model.network), tiny_model.backbone, "random", "", ""
    )
    assert ascent.load(other)
    again = param.image(16, batch=6)
    images = ascent.run(batch, again, [2]).images
    assert ascent.traces == 1
    expected = render.render_vis(
        other, batch, lambda: param.image(16, batch=6), thresholds=[2], progress=False
    )
    np.testing.assert_allclose(images, expected, atol=1e-5)
    inputs = keras.Input((None, None, 3))
    wider = keras.Model(inputs, keras.layers.Conv2D(6, 5, name="late_relu")(inputs))
    assert not ascent.load(Model(wider, tiny_model.backbone, "random", "", ""))


def test_interruption_returns_what_there_is(tiny_model):
    batch = [objectives.channel("late", c) for c in range(5)]
    image = param.image(16, batch=5)
    start = image().numpy()
    ascent = Ascent(
        tiny_model, batch, image, transform.compose([]), keras.optimizers.Adam(0.05), batch_size=2
    )
    steps = iter(range(10))

    def tick():
        if next(steps) == 6:  # the third step of the second batch
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="returning 4 of 5 images, the last 2 .* 3 of 4"):
        rendering = ascent.run(batch, image, [2, 4], tick=tick)
    assert rendering.images.shape[:2] == (2, 4) and np.isnan(rendering.history[3, 2:]).all()
    assert np.isfinite(rendering.history[:3]).all()
    np.testing.assert_array_equal(rendering.images[1], image()[:4])
    np.testing.assert_array_equal(start[4], image()[4])


def test_a_loss_that_is_not_a_number_stops(tiny_model):
    tiny_model.network.get_layer("deep").bias.assign(np.full(6, np.nan, np.float32))
    with pytest.raises(FloatingPointError, match=r"\[nan\] at step 1: lower"):
        render.render_vis(tiny_model, objectives.channel("late", 0), lambda: param.image(16))


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


def test_optimizer_and_continuation(tiny_model):
    target, image = objectives.channel("late", 1), param.image(16)
    optimizer = keras.optimizers.SGD(0.0)
    options = {"thresholds": [5], "progress": False}
    still = render.render_vis(tiny_model, target, lambda: image, optimizer=optimizer, **options)
    np.testing.assert_allclose(still[0], param.image(16)(), atol=1e-6)
    first = render.ascend(tiny_model, target, lambda: image, [], **options)
    second = render.ascend(tiny_model, target, lambda: image, [], **options)
    assert second.history[0] > first.history[-1] > first.history[0]


def test_inactive_channels_are_activated_and_the_model_is_untouched(tiny_model):
    late = tiny_model.network.get_layer("deep")
    late.bias.assign(np.float32([0, 0, -1, 0, 0, 0]))  # silent on noise
    before = tiny_model.network.get_weights()
    start = np.uint8(np.round(255 * param.image(16)().numpy()))
    assert layer_features(tiny_model, start)["late"][0, 2] == 0
    target, start = objectives.channel("late", 2), lambda: param.image(16)
    for options in ({}, {"last_relus": "linear"}):
        images = render.render_vis(tiny_model, target, start, thresholds=[60], **options)
        assert layer_features(tiny_model, np.uint8(255 * images[0]))["late"][0, 2] > 0
    for one, other in zip(before, tiny_model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("objective", "size", "words"),
    [
        (lambda: objectives.channel("late", 6), 16, "channel 6, .* it has 6 channels"),
        (lambda: objectives.channel("late", 1.5), 16, "channel 1.5, "),
        (lambda: objectives.channel("latte", 0), 16, "Nearest: late"),
        (lambda: objectives.neuron("late", 0, x=4, y=0), 16, "x=4, y=0.* 4 columns"),
        (
            lambda: objectives.direction("late", np.ones(3)),
            16,
            r"vector of shape \(3,\) does not fit late",
        ),
        (lambda: objectives.channel("late", 0), 4, "at least 8"),
        (lambda: objectives.class_logit("tumor"), 16, "expected a head"),
    ],
)
def test_bad_requests(tiny_model, objective, size, words):
    with pytest.raises(ValueError, match=words):
        render.render_vis(tiny_model, objective(), lambda: param.image(size))


def test_bad_batches(tiny_model):
    target = objectives.channel("late", 0)
    with pytest.raises(ValueError, match="2 images for 1"):
        render.render_vis(tiny_model, target, lambda: param.image(16, batch=2))
    with pytest.raises(ValueError, match=r"thresholds=\[0\]"):
        render.render_vis(tiny_model, target, thresholds=[0])
    with pytest.raises(ValueError, match="0 objectives"):
        render.render_vis(tiny_model, [])
