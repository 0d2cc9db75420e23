import numpy as np
import pytest

from utils.claims import judge_relevance
from utils.concepts import concept_vectors, regress, relevance


def test_relevance_finds_the_concept_that_the_output_follows(planted):
    features, measures, groups = planted
    generator = np.random.default_rng(5)
    vector = concept_vectors(features, measures, groups)["layer"]["planted"].to_numpy()
    slopes = vector + 0.05 * generator.normal(size=(480, 20))
    gradients = {"layer": slopes.astype(np.float32)}
    found = regress(features, measures, groups, gradients=gradients, permutations=60)
    table = relevance(found, gradients, groups).set_index("concept")
    planted = table.loc["planted"]
    assert planted["positive"] == 1 and planted["br"] > 5
    np.testing.assert_allclose(planted["br"], planted["r2"] * planted["ratio"])
    assert planted["low"] < planted["ratio"] < planted["high"]
    assert planted["q_random"] < 0.05 and planted["q_permuted"] < 0.05
    assert abs(table.loc["null", "br"]) < 0.5 and table.loc["null", "q_random"] > 0.05
    own = slopes @ vector  # the same from the definition
    assert planted["ratio"] == pytest.approx(own.mean() / own.std(), rel=0.1)
    constant = {"layer": np.tile(np.float32(vector), (480, 1))}
    linear = regress(features, measures, groups, gradients=constant, permutations=10)
    linear = relevance(linear, constant, groups).set_index("concept")
    assert linear[["ratio", "br", "p_random", "q_permuted"]].isna().all(axis=None)
    assert linear.loc["planted", "positive"] == 1
    judged = judge_relevance(table.reset_index().assign(network="finetuned"))
    assert "1 of 2 concepts and layers" in judged and "planted at layer, Br +" in judged
    with pytest.raises(ValueError, match="without gradients"):
        relevance(regress(features, measures, groups, permutations=2), gradients, groups)
