from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from utils import heatmaps
from utils.claims import judge_c2, judge_randomisation
from utils.heatmaps import METHODS, explain, sanity
from utils.networks import evaluate, layer_features, linear_probe
from utils.patches import NEOPLASTIC, UNANNOTATED, PatchSet
from utils.statistics import intervals


@pytest.fixture
def masks():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :4, :4], masks[1, 2:4, 2:6] = True, True
    return masks


@pytest.fixture
def annotated_patches(images):
    """Five patches of three groups with a neoplastic and a connective nucleus each."""
    masks = np.zeros(images.shape[:3], np.uint8)
    for i, mask in enumerate(masks):
        mask[2:6, i : i + 4], mask[10:14, 3:9] = NEOPLASTIC, 1
    groups = np.array(["a", "a", "b", "b", "c"])
    positions = np.zeros((5, 2), int)
    return PatchSet(images, np.ones(5, int), groups, groups, positions, masks)


def test_pointing_game(masks):
    maps = np.zeros(masks.shape, np.float32)
    maps[0, 1, 1], maps[1, 7, 7] = 1, 1
    assert heatmaps.pointing_game(maps, masks).tolist() == [1, 0]
    uniform = heatmaps.pointing_game(np.ones_like(maps), masks)
    np.testing.assert_allclose(uniform, masks.mean(axis=(1, 2)))
    with pytest.raises(ValueError, match="expected the same shape"):
        heatmaps.pointing_game(maps[:1], masks)


def test_energy_inside(masks):
    maps = np.where(masks, 3.0, 1.0)
    area = masks.mean(axis=(1, 2))
    expected = 3 * area / (3 * area + 1 - area)
    np.testing.assert_allclose(heatmaps.energy_inside(maps, masks), expected)
    assert np.isnan(heatmaps.energy_inside(np.zeros_like(maps), masks)).all()


def test_average_precision(masks):
    assert heatmaps.average_precision(masks.astype(float), masks).tolist() == [1, 1]
    constant = heatmaps.average_precision(np.ones(masks.shape), masks)
    np.testing.assert_allclose(constant, masks.mean(axis=(1, 2)))
    heat = np.zeros((1, 2, 2))
    heat[0] = [[4, 3], [2, 1]]  # of the two that are inside, one is found first and one third
    truth = np.array([[[True, False], [True, False]]])
    np.testing.assert_allclose(heatmaps.average_precision(heat, truth), (1 + 2 / 3) / 2)
    among = np.array([[[True, True], [False, True]]])
    assert heatmaps.average_precision(heat, truth, among).tolist() == [1]
    assert np.isnan(heatmaps.average_precision(masks.astype(float), masks, masks)).all()


def test_annotated(annotated_patches):
    annotated_patches.masks[0] = UNANNOTATED
    annotated_patches.masks[1] = 0
    assert len(heatmaps.annotated(annotated_patches)) == 3
    with pytest.raises(ValueError, match="50% of neoplastic area"):
        heatmaps.annotated(annotated_patches, least=0.5)
    bare = PatchSet(
        *(getattr(annotated_patches, n) for n in ("images", "labels", "groups")), [], []
    )
    with pytest.raises(ValueError, match="has no masks"):
        heatmaps.annotated(bare)


def test_baseline_maps():
    images = np.full((2, 40, 40, 3), 240, np.uint8)
    images[:, 5:12, 25:32] = (70, 50, 130)  # a nucleus in haematoxylin
    maps = heatmaps.baseline_maps(images)
    assert list(maps) == ["uniform", "centre", "random", "haematoxylin"]
    for heat in maps.values():
        assert heat.shape == (2, 40, 40) and heat.dtype == np.float32
        assert heat.min() >= 0 and heat.max() == 1
    assert maps["haematoxylin"][:, 8, 28].min() > 0.9 and maps["haematoxylin"][0, 30, 10] < 0.1
    assert maps["centre"][0, 20, 20] > 0.95 > maps["centre"][0, 0, 0]
    assert (maps["random"][0] != maps["random"][1]).any()
    again = heatmaps.baseline_maps(images)["random"]
    np.testing.assert_array_equal(maps["random"], again)


def test_a_perfect_map_is_judged_so_and_a_blind_one_is_not(annotated_patches):
    neoplastic = (annotated_patches.masks == NEOPLASTIC).astype(np.float32)
    centre = heatmaps.baseline_maps(annotated_patches.images)["centre"]
    maps = {
        ("finetuned", "gradcam", "late"): neoplastic,
        ("finetuned", "gradcam++", "late"): np.zeros_like(neoplastic),
        ("random", "gradcam", "late"): centre,
        ("random", "gradcam++", "late"): neoplastic,
        ("", "centre", ""): centre,
    }
    table = heatmaps.localization_table(maps, annotated_patches)
    assert len(table) == 25
    dead = table[(table["network"] == "finetuned") & (table["method"] == "gradcam++")]
    assert (dead["dead"] == 1).all() and (dead["energy_ratio"] == 1).all()  # as a uniform map
    np.testing.assert_allclose(dead["pointing"], 16 / 256)
    comparison = heatmaps.compare_with_baselines(table).set_index("method")
    assert (comparison.loc["gradcam", "low"] > 0).all()
    assert set(comparison["baseline"]) == {"random network", "centre map"}
    against = comparison[comparison["baseline"] == "random network"]
    assert (against.loc["gradcam++", "high"] < 0).all()
    comparison = comparison.reset_index()
    assert "The data support C2 in part: 1 of 2" in judge_c2(comparison)
    for method, verdict in (("gradcam", "support C2:"), ("gradcam++", "do not support C2:")):
        alone = heatmaps.compare_with_baselines(table, methods=[method])
        assert f"The data {verdict}" in judge_c2(alone)
    wider = comparison[comparison["method"] == "gradcam"]["low"].to_numpy()
    alone = heatmaps.compare_with_baselines(table, methods=["gradcam"])["low"].to_numpy()
    assert (wider <= alone).all()  # for two maps together, and for one


def test_intervals_resample_groups():
    """Against a plain bootstrap over groups, and wider than one that ignores them."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 20)
    values = generator.normal(size=8)[groups] + 0.1 * generator.normal(size=160)
    table = pd.DataFrame({"group": groups, "value": values})
    row = intervals(table, [], ["value"], resamples=4000).iloc[0]
    means = values.reshape(8, 20).mean(axis=1)
    draws = means[generator.integers(8, size=(4000, 8))].mean(axis=1)
    np.testing.assert_allclose(
        [row["mean"], row["low"], row["high"]],
        [values.mean(), *np.percentile(draws, [2.5, 97.5])],
        atol=0.05,
    )
    assert (row["n"], row["groups"]) == (160, 8)
    alone = intervals(table.assign(group=np.arange(160)), [], ["value"]).iloc[0]
    assert row["high"] - row["low"] > 2 * (alone["high"] - alone["low"])
    single = intervals(table.assign(group=0), [], ["value"]).iloc[0]
    assert np.isnan(single["low"])


def test_insertion_and_deletion(tiny_classifier, annotated_patches):
    maps = explain(tiny_classifier, annotated_patches.images, methods=["gradcam"])
    maps["reversed"] = 1 - maps["gradcam"]
    table = heatmaps.insertion_deletion(tiny_classifier, annotated_patches, maps, steps=4)
    assert len(table) == 2 * 2 * 5 * 5
    whole = tiny_classifier.predict(annotated_patches.images)
    for method in maps:
        part = (
            table[table["method"] == method]
            .set_index(["curve", "share", "patch"])["probability"]
            .sort_index()
        )
        np.testing.assert_allclose(part["insertion", 1.0], whole, atol=1e-6)
        np.testing.assert_allclose(part["deletion", 0.0], whole, atol=1e-6)
        np.testing.assert_allclose(part["deletion", 1.0], part["insertion", 0.0], atol=1e-6)
    normal = heatmaps.insertion_deletion(
        tiny_classifier, annotated_patches, maps, steps=4, target="normal"
    )
    np.testing.assert_allclose(normal["probability"], 1 - table["probability"])
    areas = heatmaps.curve_areas(table).set_index(["method", "patch"])
    first = table[(table["method"] == "gradcam") & (table["patch"] == 0)]
    values = first.loc[first["curve"] == "insertion", "probability"].to_numpy()
    expected = (values[1:] + values[:-1]).mean() / 2  # the trapezoids
    np.testing.assert_allclose(areas.loc[("gradcam", 0), "insertion"], expected, atol=1e-6)


def test_ties_are_broken_at_random(tiny_classifier, annotated_patches):
    """A dead map inserts pixels from everywhere, not from the top."""
    seen = []
    predict = tiny_classifier.predict
    object.__setattr__(
        tiny_classifier, "predict", lambda batch: seen.append(batch) or predict(batch)
    )
    dead = {"dead": np.zeros((5, 16, 16), np.float32)}
    tables = [
        heatmaps.insertion_deletion(tiny_classifier, annotated_patches, dead, steps=2)
        for _ in range(2)
    ]
    pd.testing.assert_frame_equal(*tables)
    half = seen[0].reshape(3, 5, 16, 16, 3)[1]
    kept = (half == annotated_patches.images).all(axis=-1)
    for part in (kept[:, :8], kept[:, 8:]):
        assert 0.3 < part.mean() < 0.7


def test_insertion_follows_the_map(tiny_classifier, images):
    """A map that ranks pixels from left to right inserts columns from left to right."""
    ramp = np.broadcast_to(np.linspace(1, 0, 16, dtype=np.float32), (1, 16, 16))
    patches = PatchSet(images[:1], np.ones(1, int), *(np.array(["a"]),) * 2, np.zeros((1, 2), int))
    seen = []
    predict = tiny_classifier.predict
    object.__setattr__(
        tiny_classifier, "predict", lambda batch: seen.append(batch) or predict(batch)
    )
    heatmaps.insertion_deletion(tiny_classifier, patches, {"ramp": ramp}, steps=2)
    half = seen[0][1]  # insertion at a share of one half
    np.testing.assert_array_equal(half[:, :8], images[0, :, :8])
    assert (half[:, 8:] == np.round(images[0].mean(axis=(0, 1)))).all()
    blurred = heatmaps.insertion_deletion(
        tiny_classifier, patches, {"ramp": ramp}, steps=2, fill="blur"
    )
    assert len(blurred) == 6 and len(np.unique(seen[1][0])) > 3
    with pytest.raises(ValueError, match="mean or blur"):
        heatmaps.insertion_deletion(tiny_classifier, patches, {"ramp": ramp}, fill="black")


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


def test_randomisation_passes_only_what_is_less_alike_than_other_patches():
    patches = np.arange(12)
    groups = np.repeat(list("abcd"), 3)
    noise = np.random.default_rng(0).normal(0, 0.01, 12)

    def table(with_random, with_other):
        parts = (("none", with_random), ("another patch", with_other))
        return pd.concat(
            pd.DataFrame(
                {"method": "m", "kept_up_to": name, "patch": patches, "group": groups}
            ).assign(spearman=value + noise * (name == "none"))
            for name, value in parts
        )

    judge = judge_randomisation
    assert "m: passes" in judge(table(0.1, 0.3)) and "m: FAILS" in judge(table(0.5, 0.3))
    assert "m: undecided" in judge(table(0.3 - noise.mean(), 0.3))


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
    table = heatmaps.stability(tiny_classifier, annotated_patches, _the_patch_itself, jitter=0.0)
    flips = table[table["change"].str.contains("flip")]
    np.testing.assert_allclose(flips[["spearman", "ssim"]], 1)
    assert table.loc[table["change"] == "stain jitter", "spearman"].min() > 0.8
    one_group = annotated_patches.select([0, 1])
    with pytest.raises(ValueError, match="of two groups or more"):
        heatmaps.stability(tiny_classifier, one_group, _the_patch_itself)


def test_unrelated_maps_are_of_another_group():
    groups = np.array(["a", "a", "b", "c", "c"])
    assert sanity._of_another_group(groups).tolist() == [2, 2, 3, 0, 0]


def test_similarity():
    generator = np.random.default_rng(0)
    one, other = generator.random((2, 16, 16))
    rank, structure = heatmaps.similarity(one, one**3)
    assert rank == pytest.approx(1) and structure < 1
    assert heatmaps.similarity(one, other)[0] == spearmanr(one.ravel(), other.ravel())[0]
    assert np.isnan(heatmaps.similarity(one, np.zeros_like(one))).all()


def test_network_maps(tiny_classifier, images):
    maps = heatmaps.network_maps({"finetuned": tiny_classifier}, images, ["early", "late"])
    assert len(maps) == 3 * 2 + 1 and ("finetuned", "saliency", "input") in maps


def test_linear_probe(tiny_model, colored_patches):
    """Beats chance on unseen groups, and is scikit-learn's regression on the pooled features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, test = colored_patches.split(folds=4)
    hashed = replace(tiny_model, sha256="0123")
    probe = linear_probe(hashed, train)
    assert probe.sha256 not in ("", "0123")  # the head is a part of the weights
    assert linear_probe(hashed, test).sha256 != probe.sha256
    assert linear_probe(tiny_model, train).sha256 == ""
    probability = probe.predict(test.images)
    assert evaluate(test, probability)["auc"] > 0.9
    seen, unseen = (layer_features(tiny_model, part.images)["late"] for part in (train, test))
    scaler = StandardScaler().fit(seen)
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(scaler.transform(seen), train.labels)
    expected = regression.predict_proba(scaler.transform(unseen))[:, 1]
    np.testing.assert_allclose(probability, expected, atol=1e-3)
    assert isinstance(probe.network.layers[-1], keras.layers.Dense)
    with pytest.raises(ValueError, match="one class"):
        linear_probe(tiny_model, train.select(train.labels == 0))
