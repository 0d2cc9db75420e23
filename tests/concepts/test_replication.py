from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from utils.claims import disagreements, judge_c3
from utils.concepts import cka_by_layer, cka_left_out, cross_validated_r2, regress, texture_measures
from utils.concepts.analysis import r2_interaction, r2_table
from utils.concepts.replication import EFFECTS, LEAD, compare_sets, replicate, texture_regressions
from utils.networks import Finetuning, layer_features, linear_probe
from utils.patches import PatchSet
from utils.statistics import jackknife_interval

LAYERS = {"early": ["early"], "deep": ["late"]}
TUMOR = (
    "AUC, finetuned network",
    "balanced accuracy, finetuned network",
    "balanced accuracy, linear head on pretrained",
)


def _patches(groups, count=84, seed=0):
    """Grey patches of more and of less contrast, in groups of the same size, of both classes."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    spread = generator.uniform(5, 60, count)[:, None, None, None]
    noise = generator.normal(0, 1, (count, 16, 16, 1)) * spread
    color = np.where(labels[:, None], [150, 120, 150], [130, 130, 160])[:, None, None]
    images = np.uint8(np.clip(color + generator.normal(0, 12, (count, 1, 1, 3)) + noise, 0, 255))
    names = np.array([f"{seed}/{place * groups // count}" for place in range(count)])
    sources = np.array([f"image {seed}"] * count)
    return PatchSet(images, labels, names, sources, np.full((count, 2), -1), name=f"set {seed}")


@pytest.fixture
def finetunings(tiny_classifier):
    """Networks of two folds, trained on four groups of the set 0 each."""
    other = tiny_classifier.copy()
    generator = np.random.default_rng(5)
    weights = [
        weight + generator.normal(0, 0.2, weight.shape) for weight in other.network.get_weights()
    ]
    other.network.set_weights(weights)
    for model in (tiny_classifier, other):  # so that each calls about half of all patches tumor
        kernel, bias = (head := model.network.get_layer("tumor")).get_weights()
        middle = np.median(model.log_odds(_patches(6, seed=1).images))
        head.set_weights([kernel, bias - middle])
    names = [f"0/{i}" for i in range(7)]
    sides = (names[:4], names[4:]), (names[3:], names[:3])
    return [
        Finetuning(
            model, {"trained_on": train, "held_out": test, "options": {"seed": 0, "fold": fold}}
        )
        for fold, (model, (train, test)) in enumerate(
            zip((tiny_classifier, other), sides, strict=True)
        )
    ]


def _values(table):
    assert table["measure"].is_unique
    return table.set_index("measure")


def test_a_set_that_no_network_was_trained_on(finetunings, tiny_model):
    """Every number from its definition; the groups are of one size, so that patches count alike."""
    training, patches = _patches(7), _patches(6, seed=1)
    table = _values(replicate(finetunings, tiny_model, patches, training, **LAYERS, folds=3))
    heads = [linear_probe(tiny_model, training.select(one.seen(training))) for one in finetunings]
    finetuned = np.mean([one.model.predict(patches.images) for one in finetunings], axis=0)
    head = np.mean([model.predict(patches.images) for model in heads], axis=0)
    accuracy = [balanced_accuracy_score(patches.labels, p >= 0.5) for p in (finetuned, head)]
    expected = [roc_auc_score(patches.labels, finetuned), *accuracy]
    np.testing.assert_allclose(table["value"][list(TUMOR)], expected, atol=1e-6)
    assert abs(accuracy[0] - 0.5) > 0.05  # not all alike
    assert table["value"][LEAD] == pytest.approx(accuracy[0] - accuracy[1])
    kept = [patches.groups != name for name in np.unique(patches.groups)]
    left_out = [roc_auc_score(patches.labels[k], finetuned[k]) for k in kept]
    interval = jackknife_interval(np.array([expected[0], *left_out]))
    np.testing.assert_allclose(table.loc[TUMOR[0], ["low", "high"]].astype(float), interval)

    texture = texture_measures(patches.images)
    within = {"images": patches.sources, "classes": patches.labels, "folds": 3, "permutations": 0}
    before, *after = (
        layer_features(model, patches.images)
        for model in (tiny_model, *(one.model for one in finetunings))
    )
    r2 = {}  # of each network by itself
    for name, networks in (("pretrained", [before]), ("finetuned", after)):
        tables = [cross_validated_r2(x, texture, patches.groups, **within) for x in networks]
        r2[name] = pd.concat(tables).groupby("layer")["r2"].mean()
    gain = (r2["finetuned"] - r2["pretrained"]).loc[["early", "late"]]
    assert np.abs(gain).min() > 1e-3
    for third, layer in (("early", "early"), ("deep", "late")):
        for name, of_network in r2.items():
            row = table.loc[f"R2 of texture, {third} layers, {name}"]
            assert row["value"] == pytest.approx(of_network[layer])
        row = table.loc[f"R2 gained by finetuning, {third} layers"]
        assert row["value"] == pytest.approx(gain[layer])
        cka = [
            cka_by_layer(
                cka_left_out(
                    {"pretrained": before, "finetuned": x},
                    [("pretrained", "finetuned")],
                    patches.groups,
                    images=patches.sources,
                )
            ).set_index("layer")["cka"][layer]
            for x in after
        ]
        assert np.ptp(cka) > 1e-4
        row = table.loc[f"CKA of pretrained and finetuned, {third} layers"]
        assert row["value"] == pytest.approx(np.mean(cka))
    assert table["value"][EFFECTS[-1]] == pytest.approx(gain["late"] - gain["early"])

    assert (table["groups"] == 6).all() and (table["patches"] == len(patches)).all()
    middle = (table["low"] + table["high"]) / 2
    np.testing.assert_allclose(middle, table["value"], atol=1e-12)
    assert (table["high"] > table["low"]).sum() >= 11  # nothing varies where a head is never wrong


def test_the_sample_itself_is_measured_on_what_each_network_has_not_seen(finetunings, tiny_model):
    patches = _patches(7)
    table = _values(replicate(finetunings, tiny_model, patches, patches, **LAYERS))
    probability, head = np.full((2, 2, len(patches)), np.nan)
    splits = []
    for fold, one in enumerate(finetunings):
        seen = np.isin(patches.groups, one.manifest["trained_on"])
        unseen = patches.select(~seen)
        probability[fold, ~seen] = one.model.predict(unseen.images)
        head[fold, ~seen] = linear_probe(tiny_model, patches.select(seen)).predict(unseen.images)
        splits.append((np.flatnonzero(seen), np.flatnonzero(~seen)))
    scored = ~np.isnan(probability).all(axis=0)  # one group is in the training of both
    assert scored.sum() == 72
    labels = patches.labels[scored]
    probability, head = (np.nanmean(x[:, scored], axis=0) for x in (probability, head))
    accuracy = [balanced_accuracy_score(labels, p >= 0.5) for p in (probability, head)]
    expected = [roc_auc_score(labels, probability), *accuracy]
    np.testing.assert_allclose(table["value"][list(TUMOR)], expected, atol=1e-6)
    before, *after = (
        layer_features(model, patches.images)
        for model in (tiny_model, *(one.model for one in finetunings))
    )
    features = {"pretrained": before}
    features["finetuned"] = {layer: [x[layer] for x in after] for layer in before}
    within = {"images": patches.sources, "classes": patches.labels, "permutations": 0}
    for name, x in features.items():
        texture = texture_measures(patches.images)
        regressions = regress(x, texture, patches.groups, splits=splits, **within)
        r2 = r2_table(regressions).groupby("layer")["r2"].mean()
        for third, layer in (("early", "early"), ("deep", "late")):
            row = table.loc[f"R2 of texture, {third} layers, {name}"]
            assert row["value"] == pytest.approx(r2[layer])
    assert (table["groups"] == 6).all() and (table["patches"] == 72).all()


@pytest.mark.parametrize("groups", [1, 4])
def test_few_groups_have_values_without_intervals(finetunings, tiny_model, groups):
    training, patches = _patches(7), _patches(groups, seed=2)
    table = replicate(finetunings, tiny_model, patches, training, **LAYERS, folds=3)
    assert np.isfinite(table["value"]).all()
    assert table[["low", "high"]].isna().all(axis=None)
    assert (table["groups"] == groups).all() and (table["patches"] == len(patches)).all()
    regressions = texture_regressions(finetunings, tiny_model, patches, ["early", "late"], folds=3)
    assert list(regressions) == ["pretrained", "finetuned", "finetuned 2"]
    interaction = r2_interaction(regressions, ["early"], ["late"])
    verdict = judge_c3(interaction, scope="a second set")
    assert verdict.outcome == "no verdict" and f"{groups} held-out groups" in verdict.reason
    assert verdict.value == pytest.approx(_values(table)["value"][EFFECTS[-1]])
    if groups == 1:  # held-out patches of the same group
        texture, units = texture_measures(patches.images), np.arange(len(patches)).astype(str)
        x = layer_features(tiny_model, patches.images)
        options = {"classes": patches.labels, "folds": 3, "permutations": 0}
        r2 = cross_validated_r2(x, texture, units, **options).groupby("layer")["r2"].mean()
        value = _values(table)["value"]["R2 of texture, early layers, pretrained"]
        assert value == pytest.approx(r2["early"]) and value > 0.1


def test_what_differs_between_few_slides_does_not_count(finetunings, tiny_model):
    """Contrast that only tells slides apart cannot be read within them."""
    patches = _patches(4, seed=2)
    flat = np.uint8(np.full(patches.images.shape, 120))
    generator = np.random.default_rng(0)
    slide = np.unique(patches.groups, return_inverse=True)[1]
    noise = generator.normal(0, 1, patches.images.shape) * (5 + 15 * slide[:, None, None, None])
    patches = replace(patches, images=np.uint8(np.clip(flat + noise, 0, 255)))
    texture = texture_measures(patches.images)
    assert texture.groupby(slide)["contrast"].mean().is_monotonic_increasing
    x, names = layer_features(tiny_model, patches.images), np.arange(len(patches)).astype(str)
    across = cross_validated_r2(x, texture, names, folds=3, permutations=0)
    regressions = texture_regressions(finetunings, tiny_model, patches, ["early"], folds=3)
    for by_layer in regressions.values():
        one = by_layer["early"]
        truth = pd.DataFrame(one.truth).groupby(slide).mean()
        np.testing.assert_allclose(truth / one.truth.std(axis=0), 0, atol=1e-9)
        assert one.r2()[0, 0, 0] < across["r2"][0] - 0.1


def test_identical_data_agree(finetunings, tiny_model):
    training, patches = _patches(7), _patches(6, seed=1)
    one, other = (
        replicate(finetunings, tiny_model, x, training, **LAYERS, folds=3)
        for x in (patches, replace(patches, name="renamed"))
    )
    table = compare_sets({"one": one, "other": other})
    assert list(table) == ["set", *one] and table.groupby("set").size().tolist() == [len(one)] * 2
    pd.testing.assert_frame_equal(
        table[table["set"] == "other"].drop(columns="set").reset_index(drop=True), one
    )
    assert disagreements(table) == []
    missing = other.assign(low=np.nan, high=np.nan)
    assert disagreements(compare_sets({"one": one, "other": missing})) == []
