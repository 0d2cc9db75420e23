"""A backbone, a heat-map method, a concept measure and a reader are one entry each."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from utils.concepts import MEASURES, ConceptMeasures, analyse
from utils.heatmaps import METHODS, Method, explain
from utils.heatmaps.placement import place
from utils.networks import (
    BACKBONES,
    layer_features_and_gradients,
    linear_probe,
    load_model,
    positions,
)
from utils.patches import READERS, PatchSet, Reader, load_patches
from utils.results import figures


def _total(activations, gradients):
    return tf.reduce_sum(activations, axis=-1)


def _colour(patches: PatchSet) -> pd.DataFrame:
    return pd.DataFrame({"red": patches.images[..., 0].mean(axis=(1, 2))})


@pytest.fixture
def additions(monkeypatch, tmp_path, tiny_backbone, colored_patches):
    """Add one of each; the source of the new reader is returned."""
    source = tmp_path / "patches.mine"
    source.touch()
    reader = Reader("mine", lambda path: path.suffix == ".mine", lambda *_, **__: colored_patches)
    monkeypatch.setitem(BACKBONES, "tiny", tiny_backbone)
    monkeypatch.setitem(METHODS, "total", Method("total", "Total activation", _total))
    monkeypatch.setitem(MEASURES, "colour", ConceptMeasures("Colour", _colour))
    monkeypatch.setattr("utils.patches.readers.READERS", [reader, *READERS])
    return source


def test_additions_are_explained_and_drawn(additions):
    patches = load_patches(additions)
    model = linear_probe(load_model("random", "tiny"), patches)
    maps = explain(model, patches.images, methods=["gradcam", "total"])
    network = model.submodel(["late"])
    coarse = network(model.preprocess(patches.images))["late"].numpy().sum(axis=-1)
    expected = place(coarse, positions(model, "late", (16, 16)), (16, 16))
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(maps["total"], expected, atol=1e-5)
    overlays = {name: figures.overlay(patches.images, heat) for name, heat in maps.items()}
    figure = figures.explanations(patches.images[:2], overlays, ["one", "two"])
    titles = {axes.get_title() for axes in figure.axes}
    assert {"Grad-CAM", "Total activation"} <= titles


def test_additions_are_regressed_and_drawn(additions):
    patches = load_patches(additions)
    model = linear_probe(load_model("random", "tiny"), patches)
    features, gradients = layer_features_and_gradients(model, patches.images)
    measures = MEASURES["colour"].measure(patches)
    networks = {"gradients": {"tiny": gradients}, "permutations": 10, "folds": 4}
    analysis = analyse({"tiny": features}, measures, patches.groups, **networks)
    # The mean of a colour is linear in the mean of the input, nearly so after one convolution.
    assert analysis.held_out.set_index("layer")["r2"]["early"] > 0.9
    figure = figures.r2_panels(analysis.in_sample, analysis.held_out, analysis.baselines)
    assert "red" in " ".join(axes.get_ylabel() + axes.get_title() for axes in figure.axes)
    assert set(analysis.relevance["concept"]) == {"red"}
    figures.relevance_map(analysis.relevance)
