import numpy as np
import tensorflow as tf

from utils.lucid_bridge import render, to_lucid
from utils.lucid_bridge.freezing import LOG_ODDS

tf1 = tf.compat.v1


def _import(model, images):
    """Import a model as Lucid's own tests do, and compute its listed layers by their names."""
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        model.import_graph(tf.constant(images), scope="net")
        names = [f"net/{layer.name}:0" for layer in model.layers]
        return session.run([graph.get_tensor_by_name(name) for name in names])


def test_nodes_carry_the_names_of_the_layers(model, images):
    computed = _import(model, images[:, :32, :32])
    assert [values.shape[-1] for values in computed] == [layer.depth for layer in model.layers]


def test_labels_of_a_finetuned_network(tiny_classifier, tiny_model, optvis, images, evaluate):
    model = to_lucid(tiny_classifier)
    assert model.labels == ["normal", "tumor"]
    pixels = np.uint8(255 * images[:, :32, :32])
    expected = tiny_classifier.log_odds(pixels)
    for label, sign in (("tumor", 1), ("normal", -1)):
        objective = optvis.objectives.class_logit(LOG_ODDS, label)
        value = evaluate(model, objective, pixels / np.float32(255))
        np.testing.assert_allclose(value, sign * expected.sum(), rtol=1e-4)
    rendered = [
        render(
            model,
            optvis.objectives.class_logit(LOG_ODDS, label),
            lambda: optvis.param.image(32),
            steps=20,
            transforms=[],
            progress=False,
        )
        for label in model.labels
    ]
    normal, tumor = tiny_classifier.log_odds(np.uint8(255 * np.concatenate(rendered)))
    assert normal < tumor
    assert to_lucid(tiny_model).labels is None


def test_a_cut_graph_renders_the_same(model, optvis, monkeypatch):
    objective = optvis.objectives.channel("norm", 1) - optvis.objectives.L1("first")
    options = {"steps": 3, "progress": False}
    start = lambda: optvis.param.image(32)  # noqa: E731
    cut = render(model, objective, start, **options)
    smaller = model.cut(["norm"]).graph_def.node
    assert 0 < len(smaller) < len(model.graph_def.node)
    monkeypatch.delattr(type(model), "cut")
    assert cut.tobytes() == render(model, objective, start, **options).tobytes()
    monkeypatch.undo()
    only_image = render(model, optvis.objectives.total_variation(), start, **options)
    assert np.isfinite(only_image).all()
