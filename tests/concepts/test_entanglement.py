import numpy as np
import pandas as pd
import pytest

from utils.concepts import concept_angles, cross_validated_r2, partial_r2
from utils.concepts.entanglement import without_others


@pytest.fixture
def two_concepts():
    """One concept that the layer holds, and another that is the first and something else."""
    generator = np.random.default_rng(0)
    features = {"layer": generator.normal(size=(480, 10))}
    one = features["layer"][:, 0]
    unknown = generator.normal(size=480)
    measures = pd.DataFrame({"one": one, "other": one + unknown})
    groups = np.repeat(np.arange(12), 40)
    images = np.where(groups < 6, "a", "b")
    return features, measures, groups, {"images": images, "classes": np.arange(480) % 2}


def test_what_only_follows_another_concept_is_not_read_by_itself(two_concepts):
    features, measures, groups, within = two_concepts
    whole = cross_validated_r2(features, measures, groups, permutations=0, **within)
    partial = partial_r2(features, measures, groups, **within)
    whole, partial = (table.set_index("concept")["r2"] for table in (whole, partial))
    assert whole["other"] == pytest.approx(0.5, abs=0.08) and partial["other"] < 0.02
    # The rest of the first, given the sum, is half of it minus half of what is unknown.
    assert whole["one"] > 0.99 and partial["one"] == pytest.approx(0.5, abs=0.08)
    with pytest.raises(ValueError, match="expected at least two"):
        partial_r2(features, measures[["one"]], groups, **within)


def test_the_rest_does_not_correlate_with_the_others(two_concepts):
    measures = two_concepts[1]
    rest = without_others(measures)
    for name, other in (("one", "other"), ("other", "one")):
        assert abs(np.corrcoef(rest[name], measures[other])[0, 1]) < 1e-9
    # What tells strata apart is not explained away across them.
    strata = np.repeat([0, 1], 240)
    shifted = measures.assign(other=measures["other"] + 100 * strata)
    pd.testing.assert_frame_equal(without_others(shifted, strata), without_others(measures, strata))
    twice = measures.assign(other=3 * measures["one"] + 1)
    with pytest.raises(ValueError, match="the other measures determine 'one'"):
        without_others(twice)


def test_angles_of_concepts_that_a_layer_keeps_apart():
    generator = np.random.default_rng(0)
    one, noise = generator.normal(size=(2, 2000))
    measures = pd.DataFrame({"one": one, "other": 0.8 * one + 0.6 * noise})
    apart, same = np.stack([one, noise], axis=1), np.stack([one, one], axis=1)
    images, classes = np.full(2000, ""), np.arange(2000) % 2
    about = {"images": images, "classes": classes}
    table = concept_angles({"apart": apart, "same": same}, measures, **about).set_index("layer")
    np.testing.assert_allclose(table["correlation"], 0.8, atol=0.03)
    np.testing.assert_allclose(table["cosine"], [0.8, 1], atol=0.03)
    halves = [(np.arange(1000), np.arange(1000, 2000)), (np.arange(1000, 2000), np.arange(1000))]
    split = concept_angles({"apart": [apart, same]}, measures, splits=halves, **about).iloc[0]
    assert split["cosine"] == pytest.approx(0.9, abs=0.03)
