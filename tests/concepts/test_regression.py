import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.preprocessing import StandardScaler

from utils.concepts import cross_validated_r2, learning_curve, regress
from utils.concepts.ridge import PENALTIES


def test_regression_is_that_of_scikit_learn():
    """Nested cross-validation over groups, concept by concept, with features of other scales."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(240, 30)) * generator.uniform(2, 10, 30) + 5
    weights = generator.normal(size=(30, 3)) * (generator.random((30, 3)) < 0.3)
    noise = generator.normal(size=(240, 3)) * [1, 30, 300]
    y = pd.DataFrame(x @ weights + noise, columns=list("abc"))
    groups = np.repeat(np.arange(12), 20)
    found = regress({"layer": x}, y, groups, folds=3, permutations=2)["layer"].predicted[0]
    penalties = set()
    for train, test in GroupKFold(3, shuffle=True, random_state=0).split(x, groups=groups):
        scaler = StandardScaler().fit(x[train])
        inner = list(GroupKFold(4).split(train, groups=groups[train]))
        for column, name in enumerate(y):
            search = GridSearchCV(
                Ridge(), {"alpha": PENALTIES}, cv=inner, scoring="neg_mean_squared_error"
            )
            search.fit(scaler.transform(x[train]), y[name].to_numpy()[train])
            penalties.add(search.best_params_["alpha"])
            predicted = search.predict(scaler.transform(x[test]))
            np.testing.assert_allclose(found[test, column], predicted, rtol=1e-6)
    assert len(penalties) > 1


def test_a_channel_that_hardly_ever_answers_does_not_break_the_fit(planted):
    """One held-out patch has a value that is thousands of training deviations off."""
    features, measures, groups = planted
    rare = np.zeros((480, 1), np.float32)
    rare[100], rare[300] = 1e-4, 1
    with_rare = {"layer": np.hstack([features["layer"], rare])}
    found = cross_validated_r2(with_rare, measures, groups, permutations=0)["r2"]
    expected = cross_validated_r2(features, measures, groups, permutations=0)["r2"]
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_sensitivities_are_along_unit_vectors_of_the_planted_concept():
    """A logit that grows along one channel for each patch has the vectors' entry there."""
    generator = np.random.default_rng(0)
    scale = generator.uniform(0.1, 10, 12)
    x = generator.normal(size=(600, 12)) * scale
    weights = generator.normal(size=12)
    signal = x @ weights
    y = pd.DataFrame({"planted": signal + generator.normal(size=600) * signal.std() / 5})
    channels, groups = np.arange(600) % 12, np.repeat(np.arange(12), 50)
    options = {"gradients": {"layer": np.eye(12)[channels]}, "permutations": 1}
    entries = regress({"layer": x}, y, groups, **options)["layer"].sensitivity[:, 0]
    vector = pd.Series(entries).groupby(channels).mean().to_numpy()  # over the folds
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=0.05)
    weighted = (vector * scale) @ (weights * scale)  # channels that hardly vary tell little
    norms = np.linalg.norm(vector * scale) * np.linalg.norm(weights * scale)
    assert weighted / norms > 0.99


def test_bad_measures(planted):
    features, measures, groups = planted
    holes = measures["null"].where(np.arange(480) > 0)
    with pytest.raises(ValueError, match=r"\['flat', 'holes'\] are constant or not finite"):
        cross_validated_r2(features, measures.assign(flat=1.0, holes=holes), groups)
    for count, folds in ((2, 5), (3, 2), (12, 1)):
        with pytest.raises(ValueError, match=f"{count} groups for {folds} folds"):
            cross_validated_r2(features, measures, groups % count, folds=folds)
    with pytest.raises(ValueError, match="'measures': 480, 'groups': 479, 'layer': 480"):
        cross_validated_r2(features, measures, groups[1:])
    with pytest.raises(ValueError, match="same PatchSet"):
        cross_validated_r2({"layer": features["layer"][:9]}, measures, groups)
    with pytest.raises(ValueError, match="there are no measures"):
        cross_validated_r2(features, measures[[]], groups)
    broken = features["layer"].copy()
    broken[5, 3] = np.nan
    for arrays in (broken, [features["layer"], broken]):
        with pytest.raises(ValueError, match=r"features of \['broken'\] are not finite"):
            cross_validated_r2({**features, "broken": arrays}, measures, groups)


def test_learning_curve(planted):
    table = learning_curve(*planted, shares=(0.25, 1.0)).set_index(["concept", "share"])
    assert table.loc[("planted", 1.0), "r2"] > table.loc[("planted", 0.25), "r2"]
    whole = cross_validated_r2(*planted, permutations=0).set_index("concept")["r2"]
    assert table.loc[("planted", 1.0), "r2"] == pytest.approx(whole["planted"])
    assert table.loc[("planted", 1.0), "patches"] == 480 * 4 / 5


def test_what_tells_image_and_class_apart_does_not_count(planted):
    """A concept of image and class alone is predicted perfectly, and knows nothing within."""
    features, measures, groups = planted
    images = np.where(groups % 2 == 0, "one", "other")
    classes = np.arange(480) % 2
    of_both = np.stack([images == "one", classes], axis=1).astype(np.float32)
    layers = {"layer": np.hstack([features["layer"], of_both])}
    generator = np.random.default_rng(0)
    measures = measures.assign(confounded=of_both @ [3.0, 2.0] + generator.normal(size=480) / 10)
    options = {"permutations": 2}
    apart = cross_validated_r2(layers, measures, groups, **options).set_index("concept")["r2"]
    options |= {"images": images, "classes": classes}
    within = cross_validated_r2(layers, measures, groups, **options).set_index("concept")["r2"]
    assert apart["confounded"] > 0.95 and within["confounded"] < 0.1
    assert within["planted"] == pytest.approx(apart["planted"], abs=0.1)
