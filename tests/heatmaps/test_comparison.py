from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from utils import heatmaps
from utils.heatmaps import comparison, pointing
from utils.networks import Finetuning, linear_probe
from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.patches.patchset import UNTYPED


def test_annotated(annotated_patches):
    annotated_patches.masks[0] = UNANNOTATED
    annotated_patches.masks[1, 0, 0] = UNTYPED
    assert len(heatmaps.annotated(annotated_patches)) == 3
    with pytest.raises(ValueError, match="has neoplastic nuclei and is annotated completely"):
        heatmaps.annotated(annotated_patches.select([0, 1]))
    bare = PatchSet(
        *(getattr(annotated_patches, n) for n in ("images", "labels", "groups")), [], []
    )
    with pytest.raises(ValueError, match="has no masks"):
        heatmaps.annotated(bare)


@pytest.fixture
def few_nuclei(monkeypatch):
    """Groups of one neoplastic and one other nucleus count too."""
    monkeypatch.setattr(pointing, "LEAST_NUCLEI", {"neoplastic": 1, "others": 1})


def test_every_map_is_measured_once(tiny_classifier, annotated_patches, few_nuclei):
    networks = {"finetuned": tiny_classifier}
    measured = heatmaps.measure_networks(networks, annotated_patches, ["early", "late"])
    table = measured.by_patch
    maps = set(table[["network", "method", "layer"]].itertuples(index=False, name=None))
    of_network = {key for key in maps if key[0]}
    assert len(of_network) == 4 * 2 + 2 and ("finetuned", "gradient", "input") in maps
    assert {key[1] for key in maps - of_network} == set(heatmaps.BASELINES)
    assert len(table) == len(maps) * len(annotated_patches)
    ranked = measured.by_group
    assert len(ranked) == (len(maps) + len(comparison.ORDERS)) * 3
    assert len(measured.agreement) == 15 * 5


def test_nuclei_are_ranked_by_signed_maps_in_one_unit(
    tiny_classifier, annotated_patches, few_nuclei
):
    """By hand for one group: means of the unscaled Grad-CAM inside its four nuclei."""
    measured = heatmaps.measure_networks(
        {"finetuned": tiny_classifier}, annotated_patches, ["late"]
    )
    options = {"methods": ["gradcam"], "layer": "late", "modifier": "signed", "scaled": False}
    heat = heatmaps.explain(tiny_classifier, annotated_patches.images[:2], **options)["gradcam"]
    masks = annotated_patches.masks[:2]
    neoplastic, others = (
        [map_[mask == kind].mean() for map_, mask in zip(heat, masks, strict=True)]
        for kind in (NEOPLASTIC, 1)
    )
    wins = np.mean([one > other for one in neoplastic for other in others])
    ranked = measured.by_group.set_index(["network", "method", "group"])
    assert ranked.loc[("finetuned", "gradcam", "a"), "auroc"] == wins


def test_agreement_is_the_rank_correlation(annotated_patches):
    generator = np.random.default_rng(0)
    maps = {name: generator.integers(0, 9, (5, 16, 16)).astype(float) for name in "abc"}
    maps["c"][1] = 0
    table = comparison.map_agreement(maps, annotated_patches).set_index(
        ["method", "other", "patch"]
    )
    expected = spearmanr(maps["a"][3], maps["b"][3], axis=None).statistic
    assert table.loc[("a", "b", 3), "spearman"] == pytest.approx(expected)
    assert np.isnan(table.loc[("a", "c", 1), "spearman"])


def test_rivals_are_compared_group_by_group():
    rows = [
        (network, method, layer, group, auroc + 0.01 * number)
        for network, method, layer, auroc in (
            ("finetuned", "gradcam", "late", 0.8),
            ("finetuned", "gradcam", "early", 0.7),
            ("pretrained", "gradcam", "late", 0.6),
            ("pretrained", "gradient", "input", 0.9),
            ("", "centre", "", 0.9),
        )
        for number, group in enumerate("abc")
    ]
    by_group = pd.DataFrame(rows, columns=["network", "method", "layer", "group", "auroc"])
    differences = heatmaps.differences_from_rivals(by_group)
    table = heatmaps.compare_with_rivals(differences).set_index(["layer", "rival"])
    assert set(table.index) == {
        ("late", "pretrained network"),
        ("late", "centre"),
        ("early", "centre"),
    }
    row = table.loc[("late", "pretrained network")]
    np.testing.assert_allclose(row[["auroc", "rival_auroc"]].astype(float), [0.81, 0.61])
    np.testing.assert_allclose(row[["difference", "low", "high"]].astype(float), 0.2)
    assert row[["groups", "won", "lost"]].tolist() == [3, 3, 0]
    assert table.loc[("late", "centre"), ["won", "lost"]].tolist() == [0, 3]


def test_finetuned_networks_are_measured_on_what_they_have_not_seen(
    tiny_model, tiny_classifier, colored_patches
):
    masks = np.zeros((64, 16, 16), np.uint8)
    masks[:, 4:9, 4:9], masks[:, 10:12, 10:12] = NEOPLASTIC, 1
    nuclei = np.where(masks > 0, 2 * np.arange(64)[:, None, None] + 1 + (masks == 1), 0)
    patches = replace(colored_patches, masks=masks, nuclei=nuclei.astype(np.int32))
    groups = [f"slide{i}" for i in range(8)]
    hashed = replace(tiny_classifier, sha256="0123")
    finetunings = [
        Finetuning(hashed, {"held_out": groups[:4], "trained_on": groups[4:]}),
        Finetuning(hashed, {"held_out": groups[:4], "trained_on": groups[4:]}),
        Finetuning(hashed, {"held_out": groups[4:], "trained_on": groups[:4]}),
    ]
    rivals = {"pretrained": tiny_model}
    mixed = replace(colored_patches, labels=np.arange(64) % 2)  # both classes in every group
    measured = heatmaps.measure_finetunings(finetunings, rivals, mixed, patches, ["late"])
    table = measured.by_patch
    assert set(table["network"]) == {"finetuned", "pretrained", ""}
    counts = table.groupby(["network", "method", "layer"])["patch"].agg(["size", "nunique"])
    assert (counts == 64).all(axis=None)
    ranked = measured.by_group.groupby(["network", "method", "layer"])["group"]
    assert (ranked.agg(["size", "nunique"]) == 8).all(axis=None)
    probe = linear_probe(tiny_model, mixed.select(np.arange(32, 64)))
    expected = heatmaps.measure_networks({"pretrained": probe}, patches.select([5]), ["late"])
    measures = list(heatmaps.MEASURES)
    own = table[(table["patch"] == 5) & (table["network"] == "pretrained")]
    expected = expected.by_patch[expected.by_patch["network"] == "pretrained"]
    np.testing.assert_allclose(own[measures], expected[measures], rtol=1e-4)
    unknown = [Finetuning(hashed, {})]
    alone = heatmaps.measure_finetunings(unknown, rivals, mixed, patches, ["late"])
    assert set(alone.by_patch["network"]) == {"finetuned", ""}
