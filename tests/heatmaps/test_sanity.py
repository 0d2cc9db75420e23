from functools import partial

import numpy as np
import pytest
from scipy.stats import spearmanr

from utils import heatmaps
from utils.claims import judge_randomisation
from utils.heatmaps import METHODS, explain, sanity


def _the_patch_itself(model, images):
    """A method that does not look at the network."""
    return {"edges": np.float32(images[..., 0]) / 255}


def test_randomisation_tells_methods_that_ignore_the_network(tiny_classifier, annotated_patches):
    before = [weights.copy() for weights in tiny_classifier.network.get_weights()]
    blind = heatmaps.cascading_randomisation(
        tiny_classifier, annotated_patches, _the_patch_itself, ["early", "late"]
    )
    assert list(dict.fromkeys(blind["kept_up_to"])) == ["another patch", "late", "early", "none"]
    own = blind[blind["kept_up_to"] == "none"]
    np.testing.assert_allclose(own[["spearman", "ssim"]], 1)
    assert "edges: FAILS" in judge_randomisation(blind)
    seeing = heatmaps.cascading_randomisation(
        tiny_classifier, annotated_patches, partial(explain, methods=METHODS), ["early", "late"]
    )
    judged = judge_randomisation(seeing)
    assert all(f"{method}: " in judged for method in METHODS)
    for old, new in zip(before, tiny_classifier.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_randomisation_goes_from_the_head_down(tiny_classifier, annotated_patches):
    """What is kept up to a layer is the original; what is behind it is not."""
    original = dict(enumerate(tiny_classifier.network.get_weights()))
    seen = []

    def watch(model, images):
        seen.append(dict(enumerate(model.network.get_weights())))
        return _the_patch_itself(model, images)

    heatmaps.cascading_randomisation(tiny_classifier, annotated_patches, watch, ["early", "late"])
    # Weights 0, 1 are the stem's; 2, 3 those of the layer before "late"; 4, 5 the head's.
    for stage, changed in zip(seen, (range(0), range(4, 6), range(2, 6), range(6)), strict=True):
        different = [i for i in original if (stage[i] != original[i]).any()]
        assert set(different) == set(changed)


def test_stability_turns_maps_back(tiny_classifier, annotated_patches):
    table = heatmaps.stability(tiny_classifier, annotated_patches, _the_patch_itself)
    flips = table[table["change"].str.contains("flip")]
    np.testing.assert_allclose(flips[["spearman", "ssim"]], 1)
    assert table.loc[table["change"] == "stain jitter", "spearman"].min() > 0.8
    one_group = annotated_patches.select([0, 1])
    with pytest.raises(ValueError, match="of at least two groups"):
        heatmaps.stability(tiny_classifier, one_group, _the_patch_itself)


def test_unrelated_maps_are_of_another_group():
    groups = np.array(["a", "a", "b", "c", "c"])
    assert sanity._of_another_group(groups).tolist() == [2, 2, 3, 0, 0]


def test_similarity():
    generator = np.random.default_rng(0)
    one, other = generator.random((2, 16, 16))
    rank, structure = sanity.similarity(one, one**3)
    assert rank == pytest.approx(1) and structure < 1
    assert sanity.similarity(one, other)[0] == spearmanr(one.ravel(), other.ravel())[0]
    assert np.isnan(sanity.similarity(one, np.zeros_like(one))).all()
