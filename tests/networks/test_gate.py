from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from utils.networks import evaluate, gate
from utils.networks.gate import calibration, changes, colour_features, head_baselines, passed


def test_measures_are_those_of_scikit_learn(colored_patches):
    probability = np.random.default_rng(0).uniform(size=64).round(2)
    scores = evaluate(colored_patches, probability)
    labels = colored_patches.labels
    assert scores["auc"] == pytest.approx(roc_auc_score(labels, probability), abs=1e-4)
    expected = balanced_accuracy_score(labels, probability >= 0.5)
    assert scores["balanced_accuracy"] == pytest.approx(expected, abs=1e-4)
    assert set(scores["by_group"]) == set(colored_patches.groups)
    assert all(group["auc"] is None for group in scores["by_group"].values())


def test_image_and_class_are_told_apart(sample):
    """A classifier of the image alone is perfect on all patches' images, and worthless within."""
    in_nest = (sample.sources == "hgsc_nest").astype(float)
    scores = evaluate(sample, in_nest)
    assert scores["auc"] > 0.8
    within = scores["in_tumor_images"]
    assert within["auc"] == within["balanced_accuracy"] == 0.5
    assert within["patches"] == in_nest.sum()


def test_gate_names_what_fails(tiny_classifier, colored_patches):
    labels = colored_patches.labels
    good = np.where(labels == 1, 0.95, 0.05)
    head = {"in_tumor_images": {"balanced_accuracy": 1.0}}
    table = gate(tiny_classifier, colored_patches, good, head=head).set_index("condition")
    grey = table.index[table.index.str.contains("grey")][0]
    shade = np.full((1, 16, 16, 3), 128, np.uint8)
    assert table.loc[grey, "value"] == round(float(tiny_classifier.predict(shade)[0]), 4)
    assert table.drop(index=grey)["passed"].tolist() == [True, True, None, True]

    bad = np.where(labels == 1, 0.8, 0.05)
    bad[:4] = bad[8:14] = 0.6
    groups = np.repeat(["a", "b", "c", "d"], [8, 12, 12, 32])  # the first is too small to count
    rows = gate(tiny_classifier, replace(colored_patches, groups=groups), bad, head=head)
    by_name = dict(zip(rows["condition"], rows["value"], strict=True))
    assert by_name["balanced accuracy in tumour images"] == round(1 - 10 / 64, 4)
    assert by_name["its lead over a linear head on pretrained features"] == round(-10 / 64, 4)
    assert by_name["worst accuracy of a group: b"] == 0.5
    assert by_name["mean p(tumor) of tumor"] == 0.8
    assert rows["passed"].tolist()[:3] == [False, False, False] and not passed(rows)
    unknown = gate(tiny_classifier, colored_patches, good)
    assert unknown["passed"].tolist()[:2] == [True, None]


@pytest.mark.parametrize(
    "outcomes, expected",
    [([True, True], True), ([True, None], True), ([None, True], False), ([True, False], False)],
)
def test_what_is_unknown_does_not_fail_but_for_the_first(outcomes, expected):
    table = pd.DataFrame({"passed": pd.Series(outcomes, dtype=object)})
    assert passed(table) is expected


def test_baselines_are_scikit_learns(colored_patches):
    features = {"colours": colour_features(colored_patches)}
    noise = np.random.default_rng(0).normal(size=(64, 5))
    held_out = np.isin(colored_patches.groups, ["slide0", "slide4"])
    results = head_baselines({**features, "noise": noise}, colored_patches, ~held_out, held_out)
    x, y = features["colours"], colored_patches.labels
    assert x.shape == (64, 6)
    np.testing.assert_allclose(x[3, :3], colored_patches.images[3].reshape(-1, 3).mean(axis=0))
    scaler = StandardScaler().fit(x[~held_out])
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(scaler.transform(x[~held_out]), y[~held_out])
    expected = regression.predict_proba(scaler.transform(x[held_out]))[:, 1]
    assert results["colours"]["auc"] == round(roc_auc_score(y[held_out], expected), 4) == 1
    assert results["noise"]["auc"] < 0.9


def test_calibration_of_a_calibrated_classifier(colored_patches):
    generator = np.random.default_rng(0)
    probability = generator.uniform(size=64)
    table = calibration(colored_patches, probability, bins=4)
    assert table["patches"].sum() == 64 and len(table) == 4
    in_first = probability < 0.25
    first = table.iloc[0]
    assert first["patches"] == in_first.sum()
    assert first["predicted"] == pytest.approx(probability[in_first].mean())
    assert first["observed"] == pytest.approx(colored_patches.labels[in_first].mean())


def test_changes_are_relative(tiny_model, tiny_classifier):
    finetuned = tiny_classifier.copy()
    for name, share in (("stem", 0.1), ("deep", 0.3)):
        kernel = finetuned.network.get_layer(name).kernel
        kernel.assign(kernel * (1 + share))
    moved = changes(tiny_model, finetuned)
    assert moved["kernels"] == pytest.approx(0.2, abs=1e-6)  # median of two
    head = finetuned.network.get_layer("tumor")
    drawn = [np.std(keras.initializers.GlorotUniform(seed)((6, 1))) ** 2 for seed in range(2000)]
    deviation = np.sqrt(6 / 5 * np.mean(drawn))  # 6 values about their own mean
    assert moved["head"] == pytest.approx(np.std(head.kernel) / deviation, 0.05)
