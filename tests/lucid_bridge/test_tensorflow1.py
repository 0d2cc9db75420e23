import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from utils.lucid_bridge import import_lucid, tensorflow1, to_lucid

VECTOR = np.linspace(-1, 1, 8, dtype=np.float32)


def test_import_leaves_the_process_alone(run_python):
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


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("neuron", ("second", 1)),
        ("channel", ("first", 2)),
        ("direction", ("second", VECTOR)),
        ("direction_neuron", ("second", VECTOR, None, None, None, 1)),
        ("direction_cossim", ("norm", VECTOR)),
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
        ("class_logit", ("logits", "b")),
    ],
)
def test_objective(optvis, model, name, arguments, maximise):
    loss, before, after = maximise(optvis, model, getattr(optvis.objectives, name)(*arguments))
    assert np.isfinite(loss).all() and np.isfinite(after).all()
    assert after.shape == (2, 32, 32, 3)
    assert name in ("neuron", "alignment") or not np.array_equal(before, after)


def test_diversity_has_lucids_own_value(optvis, model, images, monkeypatch, evaluate):
    monkeypatch.setattr(tensorflow1, "_PATCHES", {})
    finder = tensorflow1._LucidFinder
    spec = finder.find_spec("lucid.optvis.objectives", optvis.__path__)
    original = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(original)
    four = np.concatenate([images, images[:, ::-1] ** 2])
    expected = evaluate(model, original.diversity("second"), four)
    assert evaluate(model, optvis.objectives.diversity("second"), four) == pytest.approx(expected)
    assert original.diversity is not optvis.objectives.diversity and 0 < expected < 3


def test_objective_arithmetic(optvis, model, images, evaluate, activations):
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
def test_parameterisation(optvis, model, param_f, maximise):
    _, before, after = maximise(optvis, model, "second:1", lambda: param_f(optvis.param))
    assert np.isfinite(after).all() and not np.array_equal(before, after)


def test_transformations(optvis, model, maximise):
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
def test_gradient_override_of_dead_relu(optvis, override, maximise):
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


def test_model_zoo_from_files_and_from_the_dead_bucket(tmp_path, model, images, activations):
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


def test_redirected_gradient_is_lucids_own_bit_by_bit(optvis, model, monkeypatch):
    """Also where all of an image's gradient is blocked, and after the first 16 steps."""
    monkeypatch.setattr(tensorflow1, "_PATCHES", {})
    spec = tensorflow1._LucidFinder.find_spec(
        "lucid.misc.redirected_relu_grad", import_lucid().misc.__path__
    )
    original = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(original)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4, 5, 5, 3)).astype(np.float32)
    gradient = generator.normal(size=x.shape).astype(np.float32)
    x[1] = -np.abs(x[1])
    gradient[2] = 0
    x[3] = 0
    tf1 = tf.compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        step = tf1.train.get_or_create_global_step()
        relu = tf.nn.relu(tf.constant(x))
        ours, lucids = (
            module.redirected_relu_grad(relu.op, tf.constant(gradient))
            for module in (import_lucid().misc.redirected_relu_grad, original)
        )
        for number in (0, 16, 17):
            session.run(step.assign(number))
            one, other = session.run([ours, lucids])
            np.testing.assert_array_equal(one, other)
            assert (one[1] != 0).any() == (number <= 16)
