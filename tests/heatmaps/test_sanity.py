from functools import partial

import numpy as np
import pytest
from scipy.stats import spearmanr

from utils import heatmaps
from utils.claims import judge_randomisation
from utils.heatmaps import METHODS, explain, sanity
from utils.networks import Finetuning


def _the_patch_itself(model, images):
    """A method that does not look at the network."""
    return {"edges": np.float32(images[..., 0]) / 255}


def test_randomisation_tells_methods_that_ignore_the_network(tiny_classifier, annotated_patches):
    before = [weights.copy() for weights in tiny_classifier.network.get_weights()]
    blind = heatmaps.cascading_randomisation(
        tiny_classifier, annotated_patches, _the_patch_itself, ["early", "late"]
    )
    references = ["all", "two random networks", "another patch"]
    for order, stages in zip(heatmaps.ORDERS, (["late", "early"], ["early", "late"]), strict=True):
        of_order = blind.loc[blind["order"] == order, "stage"]
        assert list(dict.fromkeys(of_order)) == [*stages, *references]
    random = blind[blind["stage"].isin(["all", "two random networks"])]
    np.testing.assert_allclose(random[["spearman", "ssim"]], 1)
    assert (random[["entropy", "dead"]] == 0).all(axis=None)
    assert "edges: FAILS" in judge_randomisation(blind)
    seeing = heatmaps.cascading_randomisation(
        tiny_classifier, annotated_patches, partial(explain, methods=METHODS), ["early", "late"]
    )
    judged = judge_randomisation(seeing)
    assert all(f"{method}: " in judged for method in METHODS)
    for old, new in zip(before, tiny_classifier.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_randomisation_goes_from_the_head_down_and_from_the_input_up(
    tiny_classifier, annotated_patches
):
    original = dict(enumerate(tiny_classifier.network.get_weights()))
    seen = []

    def watch(model, images):
        seen.append(dict(enumerate(model.network.get_weights())))
        return _the_patch_itself(model, images)

    heatmaps.cascading_randomisation(tiny_classifier, annotated_patches, watch, ["early", "late"])
    # Weights 0, 1 are the stem's; 2, 3 those of the layer before "late"; 4, 5 the head's.
    changed = range(0), range(4, 6), range(2, 6), range(0, 2), range(0, 4), range(6), range(6)
    for stage, indices in zip(seen, changed, strict=True):
        assert {i for i in original if (stage[i] != original[i]).any()} == set(indices)
    one, other = seen[-2:]
    assert (one[0] != other[0]).any()  # two random networks


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
    rank, structure, _, dead = sanity.similarity(one, one**3)
    assert rank == pytest.approx(1) and structure < 1 and dead == 0
    assert sanity.similarity(one, other)[0] == spearmanr(one.ravel(), other.ravel())[0]
    *values, dead = sanity.similarity(one, np.zeros_like(one))
    assert np.isnan(values).all() and dead == 1


def test_entropy_falls_where_a_map_is_concentrated():
    even = np.linspace(0, 1, 400).reshape(20, 20)  # every bin as full as another
    bins = len(np.histogram_bin_edges(even, "fd")) - 1
    assert sanity._histogram_entropy(even) == pytest.approx(np.log(max(bins, 10)), rel=1e-3)
    assert sanity.similarity(even, even**8)[2] < -0.2


def test_maps_of_two_seeds_are_compared_on_what_neither_has_seen(
    tiny_classifier, annotated_patches
):
    def finetuning(*trained_on):
        return Finetuning(tiny_classifier, {"trained_on": [*trained_on]})

    def explain_by_number(model, images):
        calls.append(len(images))
        return {"edges": np.float32(images[..., 0]) / (255 * len(calls))}

    calls = []
    three = finetuning("a"), finetuning("a"), finetuning("b", "c")
    table = heatmaps.repeatability(three, annotated_patches, explain_by_number)
    assert calls == [3, 3] and table["patch"].tolist() == [2, 3, 4]
    np.testing.assert_allclose(table["spearman"].astype(float), 1)
    assert table["group"].tolist() == ["b", "b", "c"]
    assert len(heatmaps.repeatability(three[1:], annotated_patches, explain_by_number)) == 0
