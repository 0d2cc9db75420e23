from dataclasses import replace

import numpy as np
import pytest

from utils.concepts import margins, reuse_by_layer
from utils.concepts.reuse import VARIANTS, blocks
from utils.networks import Finetuning, linear_probe


@pytest.fixture
def before(tiny_model, colored_patches):
    return linear_probe(tiny_model, colored_patches)


def _by_variant(table, patches):
    values = table.set_index(["layer", "variant", "patch"])["margin"]
    return {key: values[key].to_numpy() for key in values.index.droplevel("patch").unique()}


def _log_odds(model, weights, patches):
    """Of a copy with these weights, times the sign of the class."""
    copy = model.copy()
    copy.network.set_weights(weights)
    return np.where(patches.labels == 1, 1, -1) * copy.log_odds(patches.images)


def test_blocks_hold_each_layer_once(tiny_classifier):
    added = blocks(tiny_classifier, ["early", "late"])
    names = [
        [tiny_classifier.network.layers[place].name for place in places]
        for places in added.values()
    ]
    assert names[0][-2:] == ["stem", "early_relu"] and names[1] == ["deep", "late_relu"]


def test_transplants_against_weights_by_hand(tiny_classifier, before, colored_patches):
    table = margins(tiny_classifier, before, colored_patches)
    found = _by_variant(table, colored_patches)
    assert len(found) == 2 + 2 * len(VARIANTS)
    own, old = (model.network.get_weights() for model in (tiny_classifier, before))
    # Weights 0, 1 are those of "early", 2, 3 those of "late", 4, 5 the head's.
    by_hand = {
        ("", "finetuned"): own,
        ("", "pretrained"): old,
        ("early", "block set back"): old[:2] + own[2:],
        ("late", "block set back"): own[:2] + old[2:4] + own[4:],
        ("late", "finetuned above"): old[:4] + own[4:],
        ("early", "finetuned below"): own[:2] + old[2:],
        ("late", "finetuned below"): own[:4] + old[4:],
    }
    for key, weights in by_hand.items():
        expected = _log_odds(tiny_classifier, weights, colored_patches)
        np.testing.assert_allclose(found[key], expected, atol=1e-5, err_msg=str(key))
    shuffled = found["late", "block shuffled"]
    assert np.abs(shuffled - found["late", "block set back"]).max() > 1e-3
    again = margins(tiny_classifier, before, colored_patches)
    np.testing.assert_array_equal(again["margin"], table["margin"])
    for weights, kept in zip(tiny_classifier.network.get_weights(), own, strict=True):
        np.testing.assert_array_equal(weights, kept)


def test_each_network_is_asked_about_what_it_has_not_seen(
    tiny_classifier, tiny_model, colored_patches
):
    groups = [f"slide{i}" for i in range(8)]
    hashed = replace(tiny_classifier, sha256="0123")
    mixed = replace(colored_patches, labels=np.arange(64) % 2)
    finetunings = [
        Finetuning(hashed, {"trained_on": groups[:4]}),
        Finetuning(hashed, {"trained_on": groups[4:]}),
    ]
    table = reuse_by_layer(finetunings, tiny_model, mixed, mixed, layers=["late"])
    table = table.set_index("variant")
    assert set(table.index) == {*VARIANTS, "finetuned", "pretrained"}
    assert (table["n"] == 64).all() and (table["groups"] == 8).all()
    logit = np.where(mixed.labels == 1, 1, -1) * tiny_classifier.log_odds(mixed.images)
    row = table.loc["finetuned"]
    assert row["margin"] == pytest.approx(logit.mean(), rel=1e-4)  # groups of equal size
    accuracy = np.mean([(logit[mixed.labels == value] > 0).mean() for value in (0, 1)])
    assert row["balanced_accuracy"] == pytest.approx(accuracy)
    assert row["low"] < row["margin"] < row["high"]
