import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.lucid_bridge import evaluate, import_lucid, to_lucid
from utils.networks import Model, layer_features, load_model
from utils.optvis import objectives, param, recipes, render, tabulation, transform
from utils.optvis.ascent import Ascent
from utils.optvis.choice import sample_channels
from utils.optvis.complexity import channel_table
from utils.optvis.preparation import prepare_network


def _other_weights(model):
    network = keras.models.clone_model(model.network)
    return Model(network, model.backbone, "random", "", "")


def _values(objective_list, activations):
    kinds, rows = tabulation.tabulate(objective_list)
    return tabulation.values(kinds, rows, activations, len(objective_list)).numpy()


# --- objectives -------------------------------------------------------------------------------


def test_objectives_against_numpy():
    a = np.random.default_rng(0).normal(size=(5, 5, 6, 3)).astype(np.float32)
    v = np.float32([1, -2, 3])
    batch = [
        objectives.channel("a", 2),
        objectives.neuron("a", 1) - 0.5 * objectives.neuron("a", 0, x=4, y=1),
        -objectives.direction("a", v) + objectives.channel("a", 0) * 2,
        objectives.deepdream("a") + objectives.total_variation("a"),
        sum([objectives.class_logit("tumor"), 2 * objectives.class_logit("normal")]),
    ]
    variation = np.abs(np.diff(a[3], axis=0)).sum() + np.abs(np.diff(a[3], axis=1)).sum()
    expected = [
        a[0, ..., 2].mean(),
        a[1, 2, 3, 1] - 0.5 * a[1, 1, 4, 0],
        -(a[2] @ v).mean() + 2 * a[2, ..., 0].mean(),
        (a[3] ** 2).mean() + variation,
        -4.0,
    ]
    activations = {"a": tf.constant(a), "logit": tf.constant([0.0, 1, 2, 3, 4])}
    np.testing.assert_allclose(_values(batch, activations), expected, rtol=1e-5)
    assert tabulation.layers(batch) == ["a", "logit"]
    with pytest.raises(TypeError, match="by numbers"):
        batch[0] * batch[1]
    with pytest.raises(ValueError, match="'cat'; expected one of tumor, normal"):
        objectives.class_logit("cat")


def test_diversity_counts_the_others_of_a_group():
    a = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype(np.float32)
    grams = np.einsum("nhwc,nhwd->ncd", a, a)
    grams /= np.linalg.norm(grams, axis=(1, 2), keepdims=True)
    similar = lambda i, j: (grams[i] * grams[j]).sum()  # noqa: E731
    batch = [objectives.diversity("a", group) for group in (0, 1, 0, 0)]
    expected = [
        similar(0, 2) + similar(0, 3),
        0,
        similar(2, 0) + similar(2, 3),
        similar(3, 0) + similar(3, 2),
    ]
    np.testing.assert_allclose(_values(batch, {"a": tf.constant(a)}), expected, rtol=1e-5)


@pytest.fixture(scope="module")
def real_and_lucid(real_backbone):
    model = load_model("pretrained", real_backbone)
    return model, to_lucid(model)


_VECTOR = np.float32(np.random.default_rng(5).normal(size=1024))


@pytest.mark.parametrize(
    ("name", "ours", "lucids"),
    [
        ("channel", lambda n, v: [objectives.channel(n, 7)] * 2, lambda o, n, v: o.channel(n, 7)),
        (
            "neuron",
            lambda n, v: [objectives.neuron(n, 7, x=1, y=2)] * 2,
            lambda o, n, v: o.neuron(n, 7, 2, 1),  # Lucid's x counts rows
        ),
        (
            "direction",
            lambda n, v: [objectives.direction(n, v)] * 2,
            lambda o, n, v: o.direction(n, v),
        ),
        (
            "direction_neuron",
            lambda n, v: [objectives.direction_neuron(n, v, cossim_pow=2)] * 2,
            lambda o, n, v: o.direction_neuron(n, v, cossim_pow=2),
        ),
        ("deepdream", lambda n, v: [objectives.deepdream(n)] * 2, lambda o, n, v: o.deepdream(n)),
        ("L1", lambda n, v: [0.5 * objectives.L1(n, 0.3)] * 2, lambda o, n, v: 0.25 * o.L1(n, 0.3)),
        (
            "L2",
            lambda n, v: [objectives.L2(constant=0.5)] * 2,
            lambda o, n, v: 0.5 * (o.L2(constant=0.5, batch=0) + o.L2(constant=0.5, batch=1)),
        ),
        (
            "total_variation",
            lambda n, v: [objectives.total_variation()] * 2,
            lambda o, n, v: o.total_variation(),
        ),
        (
            "penalize_boundary_complexity",
            lambda n, v: [objectives.penalize_boundary_complexity(9)] * 2,
            lambda o, n, v: 0.5 * o.penalize_boundary_complexity([2, 80, 80, 3], 9),
        ),
        ("diversity", lambda n, v: [objectives.diversity(n)] * 2, lambda o, n, v: o.diversity(n)),
        (
            "channel_interpolate",
            lambda n, v: objectives.channel_interpolate(n, 7, n, 9, 2),
            lambda o, n, v: 0.5 * o.channel_interpolate(n, 7, n, 9),
        ),
    ],
)
def test_objective_values_are_lucids(real_and_lucid, name, ours, lucids):
    model, lucid_model = real_and_lucid
    layer = model.backbone.visualised_layers[1]
    images = param.perlin(80, batch=2, seed=3)
    vector = _VECTOR[: model.layer(layer).output.shape[-1]]
    activations = model.submodel([layer])(model.preprocess(255 * images), training=False)
    mean = _values(ours(layer, vector), activations | {"input": tf.constant(images)}).mean()
    lucid_objective = lucids(import_lucid().optvis.objectives, layer, vector)
    expected = np.mean(evaluate(lucid_model, lucid_objective, images))
    np.testing.assert_allclose(mean, expected, rtol=1e-4)


# --- param ------------------------------------------------------------------------------------


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
    pictures = param.perlin(64, 48, batch=2, cell=16, octaves=1, seed=4)
    assert pictures.shape == (2, 48, 64, 3) and 0 <= pictures.min() < pictures.max() <= 1
    np.testing.assert_array_equal(param.perlin(64, 48, cell=16, octaves=1, seed=5)[0], pictures[1])
    # Gradient noise vanishes at the corners of its cells, whatever the gradients.
    np.testing.assert_allclose(pictures[:, ::16, ::16], 0.5, atol=1e-6)
    assert np.abs(np.diff(pictures, axis=2)).max() < 0.2
    assert param.perlin(64, octaves=4).std() > 0.15
    with pytest.raises(ValueError, match="expected at least 8"):
        param.perlin(64, cell=4, octaves=4)


def test_shared_parts_move_all_images(tiny_model):
    image = param.image(16, batch=3, shared=True)
    assert image.shared and image.variables[1].shape[0] == 1
    np.testing.assert_allclose(image().numpy(), param.image(16, batch=3)().numpy(), atol=1e-6)
    options = {"thresholds": [2], "progress": False, "batch_size": 2}
    batch = [objectives.channel("late", c) for c in (1, 1, 4)]
    render.render_vis(tiny_model, batch, lambda: image, **options)
    assert np.abs(image.variables[1].numpy()).max() > 0


# --- transform --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "move",
    [
        transform.random_rotate([17.0]),
        transform.random_scale([1.2]),
        transform.jitter(6),
        transform.jitter(5),
        transform.pad(4),
        transform.crop_or_pad(30, 44),
        transform.compose(
            [transform.jitter(4), transform.random_scale([0.9]), transform.random_rotate([-8.0])]
        ),
        *(transform.compose(f()) for f in (transform.light, transform.standard, transform.heavy)),
    ],
)
def test_transforms_against_opencv(move):
    generator = np.random.default_rng(0)
    image = cv2.GaussianBlur(generator.random((40, 36, 3)).astype(np.float32), (0, 0), 2)
    uniform = tf.constant(transform.draw(move, [3], 1))
    moved = transform.apply(tf.constant(image[None]), move, uniform).numpy()[0]
    height, width = move.resize((40, 36))
    assert moved.shape == (height, width, 3)
    to_centre = np.array([[1, 0, (1 - width) / 2], [0, 1, (1 - height) / 2], [0, 0, 1]])
    from_centre = np.array([[1, 0, 17.5], [0, 1, 19.5], [0, 0, 1]])
    back = from_centre @ move.matrix(uniform).numpy()[0] @ to_centre
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(image, back[:2], (width, height), flags=flags, borderValue=(0.5,) * 3)
    inside = np.s_[10:-10, 10:-10]
    np.testing.assert_allclose(moved[inside], expected[inside], atol=0.01)


def test_jitter_and_pad_are_crops():
    image = np.random.default_rng(0).random((1, 12, 10, 3)).astype(np.float32)
    for seed in range(5):
        move = transform.compose([transform.pad(3), transform.jitter(5)])
        uniform = transform.draw(move, [seed], 1)
        down, right = (int(np.floor(u * 6)) for u in uniform[0, ::-1])
        padded = np.pad(image, [(0, 0), (3, 3), (3, 3), (0, 0)], constant_values=0.5)
        expected = padded[:, down : down + 13, right : right + 11]
        moved = transform.apply(tf.constant(image), move, tf.constant(uniform))
        np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_transforms_draw_for_each_image_and_step():
    move = transform.compose(transform.standard())
    assert move.resize((128, 90)) == (128, 90)
    first, other = transform.draw(move, [0, 1], 1)
    np.testing.assert_array_equal(transform.draw(move, [0], 1)[0], first)
    assert (first != other).all() and (transform.draw(move, [0], 2)[0] != first).all()
    jitter = transform.jitter(8)
    shifts = jitter.matrix(tf.constant(transform.draw(jitter, range(500), 1))).numpy()
    assert set(np.unique(shifts[:, :2, 2])) == set(range(-4, 5))
    with pytest.raises(ValueError, match="crop an image of 4 x 4 pixels to -4"):
        transform.apply(tf.zeros((1, 4, 4, 3)), jitter, tf.zeros((1, 2)))
    with pytest.raises(ValueError, match="nothing to choose"):
        transform.random_scale([])


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
def test_gradient_through_transforms_against_finite_differences(scale):
    generator = np.random.default_rng(0)
    smooth = lambda: cv2.GaussianBlur(generator.normal(size=(32, 32, 3)), (0, 0), 2)  # noqa: E731
    image, way, weights = (tf.constant(smooth()[None], tf.float32) for _ in range(3))
    move = transform.compose([transform.random_scale([scale]), transform.random_rotate([9.0])])
    uniform = tf.zeros((1, 2))
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = tf.reduce_sum(weights * transform.apply(image, move, uniform))
    slope = tf.reduce_sum(way * tape.gradient(value, image)).numpy()
    ends = [
        tf.reduce_sum(weights * transform.apply(image + e * way, move, uniform)) for e in (1, -1)
    ]
    # The operation's own gradient is a resampling, hence equal up to interpolation only.
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2, rtol=0.05)


# --- network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["inceptionv3", "densenet121"])
def test_prepare_network_computes_the_same(backbone):
    # With random statistics, so that folding batch normalisation has something to fold.
    model = load_model("random", backbone)
    generator = np.random.default_rng(0)
    for layer in model.network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(0, 0.1, count))
            layer.moving_variance.assign(generator.uniform(0.5, 2, count))
            layer.beta.assign(generator.normal(0, 0.1, count))
    names = list(model.backbone.layers)[::4] + [model.backbone.cam_layer]
    images = tf.constant(model.preprocess(255 * param.perlin(96)))
    expected = model.submodel(names)(images, training=False)
    copy = prepare_network(model, names)
    found = copy(images, training=False)
    for name in names:
        tolerance = 1e-4 * np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], atol=tolerance)
    kept = {
        type(layer).__name__ for layer in prepare_network(model, names, last_relus="kept").layers
    }
    assert ("BatchNormalization" in kept) == (backbone == "densenet121")


def test_last_relus_can_be_linear(tiny_model):
    images = tf.random.stateless_normal((2, 16, 16, 3), (0, 0))
    linear = prepare_network(tiny_model, ["late"], last_relus="linear")(images)["late"]
    kept = prepare_network(tiny_model, ["late"], last_relus="kept")(images)["late"]
    assert linear.numpy().min() < 0
    np.testing.assert_allclose(np.maximum(linear, 0), kept, atol=1e-6)
    with pytest.raises(ValueError, match="last_relus='none'"):
        prepare_network(tiny_model, ["late"], last_relus="none")


def test_bfloat16_is_close_and_float32_outside(tiny_model):
    images = tf.random.stateless_normal((2, 16, 16, 3), (0, 0))
    expected = tiny_model.submodel(["late"])(images)["late"].numpy()
    rough = tf.cast(
        prepare_network(tiny_model, ["late"], dtype="bfloat16")(images)["late"], tf.float32
    )
    assert 0 < np.abs(rough - expected).max() < 0.03 * np.abs(expected).max()
    out = render.render_vis(
        tiny_model,
        objectives.channel("late", 1),
        lambda: param.image(16),
        thresholds=[3],
        dtype="bfloat16",
        progress=False,
    )
    assert out.dtype == np.float32 and np.isfinite(out).all()


# --- render -----------------------------------------------------------------------------------


def test_gradients_against_finite_differences(tiny_classifier):
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
    climb = Ascent(
        tiny_classifier,
        batch,
        image,
        transform.compose([]),
        keras.optimizers.SGD(1.0),
        last_relus="kept",
    )
    climb.run(batch, image, [1])
    gradient = image.variables[0].numpy() - start  # one step of rate 1 up the sum of objectives
    network = tiny_classifier.submodel(["early", "late"], logit=True)

    def total(values):
        pixels = image.render([tf.constant(values, tf.float32)])
        activations = network(tiny_classifier.preprocess(255 * pixels)) | {"input": pixels}
        return np.float64(_values(batch, activations)).sum()

    for seed in range(5):
        # Uphill, so that the kinks of ReLU and of absolute values matter little.
        way = np.sign(gradient) * np.random.default_rng(seed).random(start.shape)
        difference = (total(start + 1e-3 * way) - total(start - 1e-3 * way)) / 2e-3
        np.testing.assert_allclose((gradient * way).sum(), difference, rtol=0.01)


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


def test_one_graph_serves_all_channels_and_weights(tiny_model):
    batch = [objectives.channel("late", c) for c in range(6)]
    image = param.image(16, batch=6)
    climb = Ascent(
        tiny_model,
        batch,
        image,
        transform.compose(transform.standard()),
        keras.optimizers.Adam(0.05),
        batch_size=2,
    )
    climb.run(batch, image, [2])
    other = Model(
        keras.models.clone_model(tiny_model.network), tiny_model.backbone, "random", "", ""
    )
    assert climb.load(other)
    again = param.image(16, batch=6)
    found = climb.run(batch, again, [2]).images
    assert climb.traces == 1
    expected = render.render_vis(
        other, batch, lambda: param.image(16, batch=6), thresholds=[2], progress=False
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    inputs = keras.Input((None, None, 3))
    wider = keras.Model(inputs, keras.layers.Conv2D(6, 5, name="late_relu")(inputs))
    assert not climb.load(Model(wider, tiny_model.backbone, "random", "", ""))


def test_interruption_returns_what_there_is(tiny_model):
    batch = [objectives.channel("late", c) for c in range(5)]
    image = param.image(16, batch=5)
    start = image().numpy()
    climb = Ascent(
        tiny_model,
        batch,
        image,
        transform.compose([]),
        keras.optimizers.Adam(0.05),
        batch_size=2,
    )
    steps = iter(range(10))

    def tick():
        if next(steps) == 6:  # the third step of the second batch
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="returning 4 of 5 images, the last 2 .* 3 of 4"):
        ascent = climb.run(batch, image, [2, 4], tick=tick)
    assert ascent.images.shape[:2] == (2, 4) and np.isnan(ascent.history[3, 2:]).all()
    assert np.isfinite(ascent.history[:3]).all()
    np.testing.assert_array_equal(ascent.images[1], image()[:4])
    np.testing.assert_array_equal(start[4], image()[4])


def test_silent_channels_wake_and_the_model_is_untouched(tiny_model):
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


# --- recipes ----------------------------------------------------------------------------------


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
    images = recipes.render_channels({"it": model}, channels, recipes.fast(40), size=96)["it"]
    pixels = {layer: np.uint8(np.round(255 * images[layer]))}
    reached = {layer: layer_features(model, pixels[layer], layers=[layer])[layer]}
    table = channel_table(pixels, channels, reached, responses)
    assert len(patches) == 500 and (table["image"] > table["patches_mean"]).all()
    assert table["channel"].tolist() == channels[layer]


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "size", "words"),
    [
        (lambda: objectives.channel("late", 6), 16, "channels 0 to 5"),
        (lambda: objectives.channel("late", 1.5), 16, "channel of late is 1.5"),
        (lambda: objectives.channel("latte", 0), 16, "Nearest: late"),
        (lambda: objectives.neuron("late", 0, x=4, y=0), 16, "x=4, y=0 lies outside.* 4 columns"),
        (lambda: objectives.direction("late", np.ones(3)), 16, "vector of 6 numbers"),
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


def test_a_loss_that_is_not_a_number_stops(tiny_model):
    tiny_model.network.get_layer("deep").bias.assign(np.full(6, np.nan, np.float32))
    with pytest.raises(FloatingPointError, match="step 1, with learning rate 0.05, seed 0"):
        render.render_vis(tiny_model, objectives.channel("late", 0), lambda: param.image(16))
