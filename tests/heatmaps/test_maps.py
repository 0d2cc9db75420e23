import keras
import numpy as np
import pytest

from utils.heatmaps import METHODS, DeadMaps, explain, explain_by_outcome, explain_layers, stream
from utils.networks import Model
from utils.networks.checkpoints import add_head, flatten
from utils.results.figures import overlay


def _activations(model, images, layer):
    return model.submodel([layer])(model.preprocess(images), training=False)[layer].numpy()


def test_the_gradient_against_finite_differences(tiny_classifier, images):
    inputs = tiny_classifier.preprocess(images[:1])
    network = tiny_classifier.submodel([], logit=True)
    moves = 1e-3 * np.eye(inputs.size, dtype=np.float32).reshape(-1, *inputs.shape[1:])
    up, down = (network(inputs + sign * moves)["logit"].numpy() for sign in (1, -1))
    slope = np.abs((up - down) / 2e-3).reshape(inputs.shape).max(axis=-1)
    found = explain(tiny_classifier, images[:1], methods=["gradient"])["gradient"]
    np.testing.assert_allclose(found, slope / slope.max(), atol=0.02)


def test_maps_do_not_depend_on_the_batch(tiny_classifier, images):
    together = explain(tiny_classifier, images)
    for method, maps in explain(tiny_classifier, images, batch_size=2).items():
        np.testing.assert_allclose(maps, together[method], atol=1e-6)


def test_maps_without_evidence_are_said(tiny_classifier, images):
    head = tiny_classifier.network.get_layer("tumor")
    head.kernel.assign(-np.abs(head.kernel.numpy()))
    with pytest.warns(
        DeadMaps, match="5 of 5 gradcam maps of late are all zero: no position passes"
    ):
        maps = explain(tiny_classifier, images, methods=["gradcam"])["gradcam"]
    assert (maps == 0).all()
    assert explain(tiny_classifier, images, target="normal")["gradcam"].max() == 1


def test_several_layers_from_the_same_passes(tiny_classifier, images):
    together = explain_layers(tiny_classifier, images, ["early", "late"], methods=METHODS)
    for layer, by_method in together.items():
        alone = explain(tiny_classifier, images, methods=METHODS, layer=layer)
        for method, maps in by_method.items():
            np.testing.assert_allclose(maps, alone[method], atol=1e-5)


def test_stream_is_lazy_and_gives_the_same_maps(tiny_classifier, images, passes):
    batches = stream(tiny_classifier, images, ["late"], batch_size=2)
    first = next(batches)
    assert passes == [2]
    parts = [first, *batches]
    assert passes == [2, 2, 1]
    maps = np.concatenate([part.maps["late"]["gradcam"] for part in parts])
    np.testing.assert_allclose(maps, explain(tiny_classifier, images)["gradcam"], atol=1e-6)
    logit = np.concatenate([part.logit for part in parts])
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), tiny_classifier.predict(images), atol=1e-6)


def test_two_softmax_units_are_explained_as_one_sigmoid(tiny_model, tiny_classifier, images):
    """Tumor and normal alike, though two units have an offset that a softmax does not see."""
    kernel, bias = tiny_classifier.network.get_layer("tumor").get_weights()
    network = add_head(tiny_model.network, 2)
    offset = np.float32(np.random.default_rng(0).normal(size=kernel.shape))
    network.get_layer("tumor").set_weights(
        [np.hstack([offset, offset + kernel]), np.concatenate([[0.0], bias])]
    )
    two = Model(network, tiny_model.backbone, "finetuned", "test", "")
    for target in ("tumor", "normal"):
        for method, maps in explain(two, images, target=target).items():
            expected = explain(tiny_classifier, images, target=target)[method]
            assert expected.max() == 1  # neither class is blank
            np.testing.assert_allclose(maps, expected, atol=1e-4)


def test_nested_backbone(tiny_classifier, tiny_backbone, images):
    network = tiny_classifier.network
    inner = keras.Model(network.inputs[0], network.get_layer("late_relu").output, name="inner")
    image = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inner(image))
    outer = keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(pooled))
    outer.layers[-1].set_weights(network.get_layer("tumor").get_weights())
    nested = Model(flatten(outer), tiny_backbone, "nested", "test", "")
    for method, maps in explain(nested, images, layer="early").items():
        expected = explain(tiny_classifier, images, layer="early")[method]
        np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_modifiers_and_interpolations(tiny_classifier, images, fine):
    options = {"methods": ["gradcam"]}

    def gradcam_of(**more):
        return explain(tiny_classifier, images, **options, **more)["gradcam"]

    for method in ("gradcam++", "layercam"):
        with pytest.raises(ValueError, match="explain the other target"):
            explain(tiny_classifier, images, methods=[method], modifier="negate")
    np.testing.assert_allclose(
        gradcam_of(modifier="negate"), gradcam_of(target="normal"), atol=1e-5
    )
    kernel = tiny_classifier.network.get_layer("tumor").kernel.numpy()[:, 0]
    both = np.abs(_activations(tiny_classifier, images, "late") @ kernel)
    np.testing.assert_allclose(gradcam_of(modifier="absolute"), fine(both, (16, 16)), atol=1e-5)
    signed = gradcam_of(modifier="signed")
    coarse = _activations(tiny_classifier, images, "late") @ kernel
    np.testing.assert_allclose(signed, fine(coarse, (16, 16)), atol=1e-5)
    assert signed.min() < 0
    nearest = gradcam_of(interpolation="nearest")
    np.testing.assert_array_equal(nearest[:, 2:13:4, 2:13:4], nearest[:, 4::4, 4::4])
    cubic = gradcam_of(interpolation="cubic")
    assert 0 <= cubic.min() and cubic.max() == 1 and (cubic != nearest).any()


def test_the_logit_is_explained_where_the_probability_is_saturated(tiny_classifier, images):
    head = tiny_classifier.network.get_layer("tumor")
    expected = explain(tiny_classifier, images)["gradcam"]
    head.bias.assign([200.0])
    np.testing.assert_array_equal(tiny_classifier.predict(images), 1)
    np.testing.assert_allclose(explain(tiny_classifier, images)["gradcam"], expected, atol=1e-6)


@pytest.mark.parametrize("quadrant", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_quadrant_that_drives_the_output_is_found(tiny_classifier, quadrant):
    """A network that answers to blue alone, and images with blue in one quadrant alone."""
    for name, weights in {"stem": (3, 4), "deep": (4, 6)}.items():
        kernel = np.zeros((3, 3, *weights), np.float32)
        kernel[1, 1, 2 if name == "stem" else 0, 0] = 1
        tiny_classifier.network.get_layer(name).set_weights([kernel, np.zeros(weights[1])])
    head = np.eye(6, 1, dtype=np.float32)
    tiny_classifier.network.get_layer("tumor").set_weights([head, np.zeros(1)])
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    images[..., 2] = 0
    rows, columns = (slice(8 * side, 8 * side + 8) for side in quadrant)
    images[:, rows, columns, 2] = 255
    for layer in ("early", "late"):
        maps = explain(tiny_classifier, images, methods=METHODS, layer=layer)
        for heat in maps.values():
            inside = heat[:, rows, columns].sum(axis=(1, 2)) / heat.sum(axis=(1, 2))
            assert inside.min() > 0.7
            assert (heat[:, rows, columns].max(axis=(1, 2)) == 1).all()


def test_bad_requests(tiny_classifier, tiny_model, images):
    for options, words in (
        ({"methods": ["cam"]}, "gradcam"),
        ({"methods": "gradcam"}, "methods are 'gradcam'"),
        ({"target": "benign"}, "tumor, normal"),
        ({"modifier": "abs"}, "relu, absolute, negate, signed"),
        ({"placement": "even"}, "centres, stretched"),
        ({"interpolation": "lanczos"}, "linear, cubic, nearest"),
        ({"layer": "mixed7c"}, "no layer 'mixed7c'"),
        ({"layer": "pool"}, "spatial extent"),
    ):
        with pytest.raises(ValueError, match=words):
            explain(tiny_classifier, images, **options)
    with pytest.raises(ValueError, match="finetune first"):
        explain(tiny_model, images)
    for bad, words in (
        (images[:0], "at least one"),
        (images / 255, "float64"),
        (images // 255, "over 1"),
        (images[..., 0], "shape"),
        (images[:, :4, :4], "at least 8"),
    ):
        with pytest.raises(ValueError, match=words):
            explain(tiny_classifier, bad)
    with pytest.raises(ValueError, match="opacity is 2"):
        overlay(images, np.zeros(images.shape[:3], np.float32), opacity=2)


def test_a_head_of_five_units_is_refused(tiny_model, images):
    network = add_head(tiny_model.network, 5)
    with pytest.raises(ValueError, match="one or two units"):
        explain(Model(network, tiny_model.backbone, "five", "test", ""), images)


def test_classes_and_outcomes_are_drawn_and_explained_apart(tiny_classifier, colored_patches):
    probability = np.where(colored_patches.labels == 1, 0.9, 0.1)
    probability[[1, 9, 25]] = 0.7  # normal, but called tumor
    explained = explain_by_outcome(
        tiny_classifier, colored_patches, probability, 4, seed=2, layer="early"
    )
    assert [(e.class_name, e.outcome, e.count) for e in explained] == [
        ("normal", "correct", 29),
        ("normal", "wrong", 3),
        ("tumor", "correct", 32),
    ]
    assert explained[1].index.tolist() == [1, 9, 25]
    for part in explained:
        chosen = (probability >= 0.5) == (colored_patches.labels == 1)
        chosen = np.flatnonzero(
            (chosen == (part.outcome == "correct"))
            & (colored_patches.labels == ["normal", "tumor"].index(part.class_name))
        )
        drawn = chosen[colored_patches.select(chosen).sample_indices(4, seed=2)]
        np.testing.assert_array_equal(part.index, drawn)
        np.testing.assert_array_equal(part.patches.images, colored_patches.images[drawn])
        np.testing.assert_array_equal(part.probability, probability[drawn])
        expected = explain(
            tiny_classifier, part.patches.images, target=part.class_name, layer="early"
        )
        assert list(part.maps) == list(expected) == ["gradcam", "gradcam++"]
        for method, maps in expected.items():
            np.testing.assert_array_equal(part.maps[method], maps)
