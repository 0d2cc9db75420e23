import numpy as np
import pytest
import tensorflow as tf

from utils.lucid_bridge import import_lucid, to_lucid
from utils.networks import load_model
from utils.optvis import objectives, param

_VECTOR = np.float32(np.random.default_rng(5).normal(size=1024))


def test_objectives_against_numpy(objective_values):
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
    np.testing.assert_allclose(objective_values(batch, activations), expected, rtol=1e-5)
    assert {layer for _, layer, _ in objectives.tabulate(batch)[0]} == {"a", "logit"}
    with pytest.raises(ValueError, match="'cat'; expected one of tumor, normal"):
        objectives.class_logit("cat")


def test_products_multiply_image_by_image(objective_values):
    a = np.random.default_rng(0).normal(size=(3, 5, 6, 4)).astype(np.float32)
    b = np.random.default_rng(1).normal(size=(3, 2, 2, 2)).astype(np.float32)
    one, other = objectives.channel("a", 2), objectives.neuron("b", 1, x=0, y=1)
    batch = [
        2 * one * other,
        one * (other - 3 * objectives.channel("a", 0)),
        one * other * one + objectives.deepdream("b"),
    ]
    channels, neuron = a.mean(axis=(1, 2)), b[:, 1, 0, 1]
    expected = [
        2 * channels[0, 2] * neuron[0],
        channels[1, 2] * (neuron[1] - 3 * channels[1, 0]),
        channels[2, 2] ** 2 * neuron[2] + (b[2] ** 2).mean(),
    ]
    activations = {"a": tf.constant(a), "b": tf.constant(b)}
    np.testing.assert_allclose(objective_values(batch, activations), expected, rtol=1e-5)


def test_differences_and_tensors_against_numpy(objective_values):
    generator = np.random.default_rng(0)
    images = generator.random((3, 7, 8, 3), dtype=np.float32)
    a = generator.normal(size=(3, 5, 6, 4)).astype(np.float32)
    picture, tensor = images[2] ** 2, generator.normal(size=(2, 3, 4)).astype(np.float32)
    batch = [
        objectives.input_diff(picture),
        objectives.tensor_direction("a", tensor),
        objectives.alignment("a"),
    ]
    expected = [
        np.sqrt(((images[0] - picture) ** 2).mean()),
        (a[1, 1:3, 2:5] * tensor).sum(axis=-1).mean(),
        0.0,  # the only image with this objective
    ]
    activations = {"a": tf.constant(a), "input": tf.constant(images)}
    np.testing.assert_allclose(objective_values(batch, activations), expected, rtol=1e-5, atol=1e-6)


def test_diversity_counts_the_others_of_a_group(objective_values):
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
    np.testing.assert_allclose(objective_values(batch, {"a": tf.constant(a)}), expected, rtol=1e-5)


@pytest.fixture(scope="module")
def real_and_lucid(real_backbone):
    model = load_model("pretrained", real_backbone)
    return model, to_lucid(model)


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
            "alignment",
            lambda n, v: [objectives.alignment(n, 3)] * 2,
            lambda o, n, v: 0.5 * o.alignment(n, 3),
        ),
        (
            "blur_input_each_step",
            lambda n, v: [objectives.blur_input_each_step()] * 2,
            lambda o, n, v: 0.5 * o.blur_input_each_step(),
        ),
        (
            "channel_interpolate",
            lambda n, v: objectives.channel_interpolate(n, 7, n, 9, 2),
            lambda o, n, v: 0.5 * o.channel_interpolate(n, 7, n, 9),
        ),
    ],
)
def test_objective_values_are_lucids(
    real_and_lucid, name, ours, lucids, objective_values, evaluate
):
    model, lucid_model = real_and_lucid
    layer = model.backbone.visualised_layers[1]
    images = param.perlin(80, batch=2, seed=3)
    vector = _VECTOR[: model.layer(layer).output.shape[-1]]
    activations = model.submodel([layer])(model.preprocess(255 * images), training=False)
    mean = objective_values(
        ours(layer, vector), activations | {"input": tf.constant(images)}
    ).mean()
    lucid_objective = lucids(import_lucid().optvis.objectives, layer, vector)
    expected = np.mean(evaluate(lucid_model, lucid_objective, images))
    np.testing.assert_allclose(mean, expected, rtol=1e-4)
