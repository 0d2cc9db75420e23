import numpy as np
import pandas as pd
import pytest

from utils.concepts import concept_importance, concept_maps, discover, name_concepts
from utils.concepts.discovery import cut_crops
from utils.networks import layer_features


@pytest.fixture
def patches(sample):
    return np.ascontiguousarray(sample.images[::40][:12, :32, :32])


def test_crops_cover_the_patches(patches):
    crops, owners = cut_crops(patches, 16)
    assert crops.shape == (12 * 9, 16, 16, 3) and (np.bincount(owners) == 9).all()
    np.testing.assert_array_equal(crops[9], patches[1, :16, :16])
    np.testing.assert_array_equal(crops[17], patches[1, 16:, 16:])
    whole, _ = cut_crops(patches, 32)
    np.testing.assert_array_equal(whole, patches)
    with pytest.raises(ValueError, match="side is 33; expected 1 to 32"):
        cut_crops(patches, 33)


def test_concepts_reconstruct_the_activations(tiny_model, patches):
    errors = []
    for count in (1, 3, 6):
        concepts = discover(tiny_model, patches, "late", count, side=16)
        activations = layer_features(tiny_model, concepts.crops, layers=["late"])["late"]
        left = activations - concepts.coefficients @ concepts.basis
        error = np.linalg.norm(left) / np.linalg.norm(activations)
        assert concepts.error == pytest.approx(error, abs=1e-3)
        assert (concepts.basis >= 0).all() and (concepts.coefficients >= 0).all()
        errors.append(error)
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.02
    again = discover(tiny_model, patches, "late", 6, side=16)
    np.testing.assert_array_equal(again.basis, concepts.basis)
    best = concepts.best_crops(2, 4)
    assert best.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(best[0], concepts.crops[concepts.coefficients[:, 2].argmax()])


def test_importance_of_a_linear_head_is_known(tiny_classifier, patches):
    """What follows the layer is a mean and a weighted sum: indices are shares of squares."""
    concepts = discover(tiny_classifier, patches, "late", 3, side=16)
    table = concept_importance(tiny_classifier, concepts, patches[:3], samples=256)
    kernel = tiny_classifier.network.get_layer("tumor").get_weights()[0][:, 0]
    maps = concept_maps(tiny_classifier, concepts, patches[:3])
    worth = maps.mean(axis=(1, 2)) * (concepts.basis @ kernel)
    expected = worth**2 / (worth**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(table, expected, atol=0.03)


def test_maps_are_the_activations_parts(tiny_classifier, patches):
    concepts = discover(tiny_classifier, patches, "late", 6, side=16)
    maps = concept_maps(tiny_classifier, concepts, patches)
    network = tiny_classifier.submodel(["late"])
    activations = network(tiny_classifier.preprocess(patches))["late"].numpy()
    left = activations - maps @ concepts.basis
    assert np.linalg.norm(left) < 0.15 * np.linalg.norm(activations)


def test_concepts_are_named_by_what_they_correlate_with():
    generator = np.random.default_rng(0)
    maps = generator.random((40, 2, 2, 3))
    means = maps.mean(axis=(1, 2))
    measures = pd.DataFrame({"area": -means[:, 2], "contrast": np.exp(means[:, 0])})
    table = name_concepts(maps, measures)
    assert table["name"][0] == "contrast" and table["correlation"][0] == pytest.approx(1)
    assert table["name"][2] == "area" and table["correlation"][2] == pytest.approx(-1)
    assert abs(table["correlation"][1]) < 0.6
    with pytest.raises(ValueError, match="columns of the same name: \\['area'\\]"):
        name_concepts(maps, pd.concat([measures, measures[["area"]]], axis=1))


def test_what_cannot_be_factorised_is_refused(tiny_classifier, patches):
    with pytest.raises(ValueError, match="count is 7; expected 1 to 6: there are 108 crops and 6"):
        discover(tiny_classifier, patches, "late", 7, side=16)
    with pytest.raises(ValueError, match="negative activations"):
        discover(tiny_classifier, patches, "deep", 2, side=16)
    concepts = discover(tiny_classifier, patches, "late", 2, side=16)
    with pytest.raises(ValueError, match="samples is 12; expected a power of 2"):
        concept_importance(tiny_classifier, concepts, patches, samples=12)
