"""The genuine Lucid beside TensorFlow 2, and Keras networks in it."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.config import disable_op_determinism

from utils.lucid_bridge import (
    activations,
    aligned_images,
    evaluate,
    import_lucid,
    render,
    render_channels,
    tensorflow1,
    to_lucid,
)
from utils.networks import load_model

tf1 = tf.compat.v1
ROOT = Path(__file__).resolve().parent.parent
VECTOR = np.linspace(-1, 1, 8, dtype=np.float32)


@pytest.fixture(scope="module", autouse=True)
def without_op_determinism():
    """Unseeded Lucid draws unseeded random numbers, which TensorFlow then refuses."""
    disable_op_determinism()


@pytest.fixture(scope="module")
def optvis():
    return import_lucid().optvis


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((2, 96, 96, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(8, 3, activation="relu", name="first"),
            layers.BatchNormalization(moving_mean_initializer="ones", name="norm"),
            layers.Dropout(0.9),
            layers.Conv2D(8, 3, activation="relu", name="second"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, name="logits"),
        ]
    )


@pytest.fixture(scope="module")
def model(network):
    model = to_lucid(network)
    model.labels = list("abcde")
    return model


@pytest.fixture(scope="module")
def inception():
    keras.applications.InceptionV3(weights=None, include_top=False)  # moves Keras' numbers on
    return load_model("random", "inceptionv3", seed=0)


@pytest.fixture(scope="module")
def lucid_inception(inception):
    return to_lucid(inception)


def run_python(code):
    result = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def maximise(optvis, model, objective, param_f=None, **options):
    """Take one step of optimisation; return the loss and the images before and after it."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        param_f = param_f or (lambda: optvis.param.image(32, batch=2))
        tensors = optvis.render.make_vis_T(model, objective, param_f, **options)
        session.run(tf1.global_variables_initializer())
        before = session.run(tensors("input"))
        loss, _ = session.run([tensors("loss"), tensors("vis_op")])
        return loss, before, session.run(tensors("input"))


# --- import_lucid -----------------------------------------------------------------------------


def test_import_leaves_the_process_alone():
    run_python("""
import logging, random, sys
import matplotlib, numpy as np
try:
    import lucid.optvis.render
except ImportError:
    pass
else:
    raise SystemExit("Lucid imports by itself, the bridge is not needed any more")
import keras, tensorflow as tf
from utils.lucid_bridge import import_lucid

def state():
    names = ("tensorflow", "keras")
    modules = {k: v for k, v in sys.modules.items() if k.partition(".")[0] in names}
    return (modules, random.getstate(), str(np.random.get_state()), matplotlib.get_backend(),
            list(logging.getLogger().handlers), logging.getLogger().level, hasattr(tf, "contrib"))

matplotlib.use("agg")
before = state()
lucid = import_lucid()
assert import_lucid() is lucid is sys.modules["lucid"]
assert state() == before and sys.modules["tensorflow"] is tf and tf.executing_eagerly()
from lucid.modelzoo.nets_factory import models_map
import lucid.recipes.caricature
assert "InceptionV3_slim" in models_map and state() == before
""")


def test_missing_lucid_says_what_to_install(monkeypatch):
    def without(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(tensorflow1.importlib, "import_module", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install lucid==0\.3\.8"):
        import_lucid()


# --- Lucid's own functions --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("neuron", ("second", 1)),
        ("neuron", ("second", 1, 2, 3, 0)),
        ("channel", ("first", 2)),
        ("channel", ("first", 2, 1)),
        ("direction", ("second", VECTOR)),
        ("direction", ("second", VECTOR, 1)),
        ("direction_neuron", ("second", VECTOR, None, None, None, 1)),
        ("direction_neuron", ("second", VECTOR, 0)),
        ("direction_cossim", ("norm", VECTOR)),
        ("direction_cossim", ("norm", VECTOR, 1)),
        ("deepdream", ("first",)),
        ("total_variation", ()),
        ("L1", ("first", 0, 1)),
        ("L2", ()),
        ("blur_input_each_step", ()),
        ("channel_interpolate", ("first", 0, "second", 1)),
        ("penalize_boundary_complexity", ([2, 32, 32, 3], 5)),
        ("alignment", ("first",)),
        ("diversity", ("second",)),
        ("input_diff", (np.zeros((32, 32, 3), np.float32),)),
        ("class_logit", ("logits", 2)),
        ("class_logit", ("logits", "b")),
    ],
)
def test_objective(optvis, model, name, arguments):
    loss, before, after = maximise(optvis, model, getattr(optvis.objectives, name)(*arguments))
    assert np.isfinite(loss).all() and np.isfinite(after).all()
    assert after.shape == (2, 32, 32, 3)
    assert name in ("neuron", "alignment") or not np.array_equal(before, after)


def test_objective_arithmetic(optvis, model, images):
    channel = optvis.objectives.channel
    combined = 2 * channel("first", 1) - channel("second", 2) * channel("first", 3) + 1
    first, second = activations(model, images, "first"), activations(model, images, "second")
    expected = 2 * first[..., 1].mean() - second[..., 2].mean() * first[..., 3].mean() + 1
    assert evaluate(model, combined, images) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "param_f",
    [
        lambda param: param.image(33),
        lambda param: param.image(32, fft=False, decorrelate=False),
        lambda param: param.to_valid_rgb(param.fft_image([2, 32, 32, 3]), sigmoid=False),
        lambda param: param.laplacian_pyramid([2, 32, 32, 3]),
        lambda param: param.lowres_tensor([2, 32, 32, 3], [2, 8, 8, 3], offset=True),
        lambda param: param.cppn(32, num_layers=2, batch=2),
        lambda param: param.cppn(32, num_layers=2, normalize=True),
    ],
)
def test_parameterisation(optvis, model, param_f):
    _, before, after = maximise(optvis, model, "second:1", lambda: param_f(optvis.param))
    assert np.isfinite(after).all() and not np.array_equal(before, after)


def test_transformations(optvis, model):
    transform = optvis.transform
    transforms = [
        transform.pad(4, mode="constant", constant_value="uniform"),
        *transform.standard_transforms,
        transform.random_rotate([0.1], units="radians"),
        transform.normalize_gradient([1.0, 2.0]),
        transform.crop_or_pad_to(32, 32),
        transform.collapse_alpha_random(),
    ]
    _, _, after = maximise(
        optvis,
        model,
        optvis.objectives.blur_alpha_each_step() + optvis.objectives.channel("second", 1),
        lambda: optvis.param.image(32, batch=2, alpha=True),
        transforms=transforms[:-3] + transforms[-2:],
    )
    assert np.isfinite(after).all()
    _, before, after = maximise(optvis, model, "second:1", transforms=transforms[:-1])
    assert not np.array_equal(before, after)


def test_rotation_is_that_of_tensorflow_1(images):
    rotated = tensorflow1._rotate(images, tf.constant(np.pi / 2, tf.float32))
    np.testing.assert_array_equal(rotated, np.rot90(images, axes=(1, 2)))


@pytest.mark.parametrize("override", [True, False])
def test_gradient_override_of_dead_relu(optvis, override):
    bias = keras.initializers.Constant(-100)
    conv = layers.Conv2D(2, 3, activation="relu", bias_initializer=bias, name="dead")
    model = to_lucid(keras.Sequential([layers.Input((None, None, 3)), conv]))
    _, before, after = maximise(optvis, model, "dead:0", relu_gradient_override=override)
    assert np.array_equal(before, after) != override


def test_render_vis(optvis, model, capsys):
    pictures = optvis.render.render_vis(
        model, "second:1", lambda: optvis.param.image(32), thresholds=(1, 3), verbose=False
    )
    assert [picture.shape for picture in pictures] == [(1, 32, 32, 3)] * 2
    assert capsys.readouterr().out == ""


def test_helpers_without_a_network(tmp_path):
    import_lucid()
    from lucid.misc.channel_reducer import ChannelReducer
    from lucid.misc.io import load, save, show

    picture = np.random.default_rng(0).random((8, 8, 3))
    save(picture, str(tmp_path / "folder" / "picture.png"))
    np.testing.assert_allclose(
        load(str(tmp_path / "folder" / "picture.png")), picture, atol=1 / 250
    )
    save(picture, str(tmp_path / "array.npy"))
    np.testing.assert_array_equal(load(str(tmp_path / "array.npy")), picture)
    save({"a": 1}, str(tmp_path / "dict.json"))
    assert load(str(tmp_path / "dict.json")) == {"a": 1}
    show(picture)
    assert ChannelReducer(2, "PCA").fit_transform(picture).shape == (8, 8, 2)


def test_model_zoo_from_files_and_from_the_dead_bucket(tmp_path, model, images):
    vision_models = import_lucid().modelzoo.vision_models
    (tmp_path / "graph.pb").write_bytes(model.graph_def.SerializeToString())
    (tmp_path / "labels.txt").write_text("a\nb")

    class Downloaded(vision_models.InceptionV3_slim):
        model_path = str(tmp_path / "graph.pb")
        labels_path = str(tmp_path / "labels.txt")

    downloaded = Downloaded()
    downloaded.load_graphdef()
    assert downloaded.labels == ["a", "b"]
    expected = activations(model, images, "first")
    np.testing.assert_array_equal(activations(downloaded, images, "first"), expected)
    with pytest.raises(FileNotFoundError, match="to_lucid"):
        vision_models.InceptionV1()
    with pytest.raises(FileNotFoundError, match="to_lucid"):
        _ = vision_models.InceptionV3_slim.layers[0].activations


# --- to_lucid ---------------------------------------------------------------------------------


def assert_same_activations(model, network, images, inputs, names):
    """Compare layers, given as Lucid's name to Keras' name, of preprocessed and of raw images."""
    outputs = [network.get_layer(name).output for name in names.values()]
    expected = keras.Model(network.inputs[0], outputs)(inputs, training=False)
    got = evaluate(model, lambda tensors: [tensors(name) for name in names], images)
    for name, a, b in zip(names, got, expected, strict=True):
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max(), name


def test_small_network(model, network, images):
    assert [(layer.name, layer.depth, *layer.tags) for layer in model.layers] == [
        ("first", 8, "conv"),
        ("norm", 8, "conv"),
        (network.layers[2].name, 8, "conv"),
        ("second", 8, "conv"),
        (network.layers[4].name, 8, "dense"),
        ("logits", 5, "dense"),
    ]
    assert (model.name, model.image_shape) == (network.name, [32, 32, 3])
    images = images[:, :32, :32]
    names = {layer.name: layer.name for layer in network.layers}
    assert_same_activations(model, network, images, images * 2 - 1, names)


def test_frozen_at_once_and_keras_lives_on(model, network, images):
    clone = keras.models.clone_model(network)
    clone.set_weights(network.get_weights())
    frozen = to_lucid(clone)
    before = activations(frozen, images, "first")
    render_channels(frozen, "second", [0], size=32, steps=1, progress=False)
    assert tf.executing_eagerly()
    clone.compile("adam", "mse")
    clone.fit(images[:, :32, :32], np.zeros((2, 5)), epochs=2, verbose=0)
    batch = tf.constant(images[:, :32, :32])
    with tf.GradientTape() as tape:
        tape.watch(batch)
        output = tf.reduce_sum(clone(batch))
    assert np.isfinite(tape.gradient(output, batch)).all()
    assert clone.layers[0].output.shape == (None, 30, 30, 8)  # no node was added to the layer
    np.testing.assert_array_equal(activations(frozen, images, "first"), before)
    trained = activations(to_lucid(clone), images, "first")
    assert np.abs(trained - before).max() > 1e-4


def test_nested_network(images):
    inner = keras.Sequential([layers.Input((96, 96, 3)), layers.Conv2D(4, 3, name="conv")])
    inputs = layers.Input((96, 96, 3))
    hidden = layers.Dropout(0.5)(inner(layers.RandomFlip()(inputs)), training=True)
    outer = keras.Model(inputs, layers.Conv2D(2, 3, name="conv")(hidden))
    model = to_lucid(outer, image_value_range=(0, 255))
    assert [layer.depth for layer in model.layers if "conv" in layer.name] == [4, 2]
    expected = inner(images * 255)
    np.testing.assert_allclose(activations(model, images, "conv"), expected, rtol=1e-4, atol=1e-3)


class Custom(layers.Layer):
    def call(self, inputs):
        return inputs


def test_unsuitable_networks():
    image, gray, first = (layers.Input(shape) for shape in ((9, 9, 3), (9, 9, 1), (3, 9, 9)))
    channels_first = layers.Conv2D(2, 3, data_format="channels_first")(first)
    for network, message in (
        (keras.Model(image, Custom(name="mine")(image)), "'mine' is of the custom class Custom"),
        (keras.Model([image, gray], [image, gray]), r"2 input\(s\)"),
        (keras.Model(gray, layers.Conv2D(2, 3)(gray)), r"\(None, 9, 9, 1\)"),
        (keras.Model(first, channels_first), "channels first"),
        (keras.Model(image, layers.Conv2D(3, 3, groups=3)(image)), "3 groups"),
        (keras.Sequential([layers.Dense(1)]), "model is a Sequential"),
        ("inceptionv3", "model is a str"),
    ):
        with pytest.raises(ValueError, match=message):
            to_lucid(network)


def test_inception_names(lucid_inception, inception):
    zoo = import_lucid().modelzoo.vision_models.InceptionV3_slim
    expected = [(layer.name, layer.depth, layer.tags) for layer in zoo.layers[:-1]]
    assert [(x.name, x.depth, x.tags) for x in lucid_inception.layers] == expected
    assert lucid_inception.image_value_range == (-1, 1)
    assert lucid_inception.image_shape == [299, 299, 3]
    for name in ("mixed6b", "mixed4", "InceptionV3/InceptionV3/Mixed_6b/concat"):
        assert lucid_inception.get_layer(name) is lucid_inception.layers[9]
    assert lucid_inception.get_layer("conv2d_4a").name.endswith("Conv2d_4a_3x3/Relu")
    assert set(inception.backbone.layers) <= set(lucid_inception._by_name)
    nodes = {node.name for node in lucid_inception.graph_def.node}
    assert nodes >= {name for name, _, _ in expected} and "input" in nodes


@pytest.mark.parametrize("name", ["mixed6bb", "Mixed_6b"])
def test_unknown_layer_lists_the_nearest(optvis, lucid_inception, name):
    with pytest.raises(ValueError, match="nearest are .*'mixed6b'"):
        lucid_inception.get_layer(name)
    with pytest.raises(ValueError, match="nearest are .*'mixed6b'"):
        maximise(optvis, lucid_inception, optvis.objectives.channel(name, 0))


def test_inception_activations(lucid_inception, inception, images):
    names = {name: inception.layer(name).name for name in inception.backbone.layers}
    names |= {"InceptionV3/InceptionV3/Mixed_7a/concat": "mixed8"}
    inputs = inception.preprocess(images * 255)
    assert_same_activations(lucid_inception, inception.network, images, inputs, names)


def test_finetuned_network_on_real_patches(real_backbone, checkpoint, sample):
    finetuned = load_model(checkpoint, real_backbone)
    model = to_lucid(finetuned)
    patches = sample.images[::400]
    listed = {layer.name for layer in model.layers}
    names = {
        layer.name: name
        for name, layer in model._by_name.items()
        if layer.name in listed and name in {x.name for x in finetuned.network.layers}
    }
    assert set(names) == listed
    names |= {name: finetuned.layer(name).name for name in finetuned.backbone.layers}
    inputs = finetuned.preprocess(patches)
    assert_same_activations(model, finetuned.network, patches / np.float32(255), inputs, names)
    # The network before finetuning is another one.
    deepest = finetuned.backbone.cam_layer
    before = load_model("pretrained", real_backbone).submodel([deepest])(inputs)[deepest]
    found = activations(model, patches / np.float32(255), deepest)
    assert np.abs(found - before).max() > 0.01 * np.abs(before).max()


def test_activation_grid(optvis, model, images):
    cells = activations(model, images[:1, :32, :32], "second")[0, ::14, ::14].reshape(-1, 8)
    directions = [optvis.objectives.direction("second", v, batch=i) for i, v in enumerate(cells)]
    grid = render(
        model,
        optvis.objectives.Objective.sum(directions),
        lambda: optvis.param.image(32, batch=len(cells)),
        steps=20,
        transforms=[],
        progress=False,
    )
    found = activations(model, grid, "second")
    products = np.einsum("nhwc,mc->nm", found, cells)
    assert len(cells) == 4 and (products.diagonal() > 0).all()


def test_aligned_images_share_what_is_coarse(optvis, model):
    objective = optvis.objectives.channel_interpolate("second", 1, "second", 2)
    images = render(model, objective, lambda: aligned_images(32, 3), steps=30, progress=False)
    assert images.shape == (3, 32, 32, 3) and 0 <= images.min() < images.max() <= 1
    alone = lambda: optvis.param.image(32, batch=3)  # noqa: E731
    apart = render(model, objective, alone, steps=30, progress=False)
    alike, unlike = (np.corrcoef(found.reshape(3, -1))[0, 1:].mean() for found in (images, apart))
    assert alike > unlike


def test_objectives_render_by_seed(model):
    optvis = import_lucid().optvis
    objective = optvis.objectives.direction("second", VECTOR) + optvis.objectives.channel("norm", 1)
    options = {"steps": 3, "seed": 4, "progress": False}
    start = lambda: optvis.param.image(32, batch=2)  # noqa: E731
    rendered = render(model, objective, start, **options)
    assert rendered.shape == (2, 32, 32, 3)
    assert rendered.tobytes() == render(model, objective, start, **options).tobytes()


def test_densenet_preprocessing_is_per_channel(images):
    model = load_model("random", "densenet121", seed=0)
    lucid_model = to_lucid(model)
    names = {name: model.layer(name).name for name in model.backbone.layers}
    inputs = model.preprocess(images * 255)
    assert_same_activations(lucid_model, model.network, images, inputs, names)


# --- render_channels --------------------------------------------------------------------------


def test_render_channels_repeats_and_maximises(model, capsys):
    options = {"size": 32, "steps": 16, "progress": False}
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    rendered = render_channels(model, "norm", [2, 4], seed=3, **options)
    assert np.random.rand() == expected
    assert rendered.shape == (2, 32, 32, 3) and rendered.dtype == np.float32
    assert 0 <= rendered.min() < rendered.max() <= 1
    again = render_channels(model, "norm", [2, 4], seed=3, **options)
    assert rendered.tobytes() == again.tobytes()
    assert rendered.tobytes() != render_channels(model, "norm", [2, 4], **options).tobytes()
    start = render_channels(model, "norm", [2, 4], seed=3, **options | {"steps": 0})
    for channel, pair in zip((2, 4), zip(start, rendered, strict=True), strict=True):
        at_start, reached = activations(model, np.stack(pair), "norm")[..., channel].mean((1, 2))
        assert reached > at_start
    assert capsys.readouterr() == ("", "")


def test_render_channels_under_op_determinism():
    run_python("""
import keras, tensorflow as tf
tf.config.experimental.enable_op_determinism()
from utils.lucid_bridge import render_channels, to_lucid
conv = keras.layers.Conv2D(4, 3, activation="relu", name="conv")
keras.utils.set_random_seed(0)
model = to_lucid(keras.Sequential([keras.layers.Input((None, None, 3)), conv]))
first, second = (render_channels(model, "conv", [0, 1], size=32, steps=4) for _ in range(2))
assert first.tobytes() == second.tobytes()
""")


@pytest.mark.parametrize("channels", [[], [8], [-1, 2]])
def test_channels_out_of_range(model, channels):
    with pytest.raises(ValueError, match="one or more of 0 to 7"):
        render_channels(model, "second", channels)


def test_images_of_another_kind(model):
    with pytest.raises(ValueError, match="divide uint8 images by 255"):
        activations(model, np.zeros((1, 32, 32, 3), np.uint8), "first")
