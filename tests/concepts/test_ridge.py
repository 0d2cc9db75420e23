import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.preprocessing import StandardScaler

from utils.concepts import regress, ridge


def test_regression_is_that_of_scikit_learn():
    """Nested cross-validation over groups, concept by concept, with features of other scales."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(240, 30)) * generator.uniform(2, 10, 30) + 5
    weights = generator.normal(size=(30, 3)) * (generator.random((30, 3)) < 0.3)
    y = pd.DataFrame(
        x @ weights + generator.normal(size=(240, 3)) * [1, 30, 300], columns=list("abc")
    )
    groups = np.repeat(np.arange(12), 20)
    found = regress({"layer": x}, y, groups, folds=3, permutations=2)["layer"]
    outer = GroupKFold(3, shuffle=True, random_state=0)
    for fold, (train, test) in enumerate(outer.split(x, groups=groups)):
        scaler = StandardScaler().fit(x[train])
        inner = list(GroupKFold(4).split(train, groups=groups[train]))
        for column, name in enumerate(y):
            search = GridSearchCV(
                Ridge(), {"alpha": ridge.PENALTIES}, cv=inner, scoring="neg_mean_squared_error"
            )
            search.fit(scaler.transform(x[train]), y[name].to_numpy()[train])
            assert found.penalties[0, fold, column] == search.best_params_["alpha"]
            predicted = search.predict(scaler.transform(x[test]))
            np.testing.assert_allclose(found.predicted[0, test, column], predicted, rtol=1e-6)
    assert len(np.unique(found.penalties)) > 1


def test_primal_and_dual_form_agree():
    """Constant features add nothing, but make them more than the patches, which takes the dual."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 15)) * generator.uniform(1, 5, 15) + 3
    y = x @ generator.normal(size=(15, 4)) + generator.normal(size=(120, 4)) * [1, 10, 50, 200]
    codes, train, test = np.repeat(np.arange(8), 15), np.arange(90), np.arange(90, 120)
    primal = ridge.RidgeFit(x, y, codes, train)
    dual = ridge.RidgeFit(np.hstack([x, np.full((120, 200), 7.0)]), y, codes, train)
    assert primal.basis is None and dual.basis.shape == (215, 90)
    np.testing.assert_array_equal(primal.penalties, dual.penalties)
    np.testing.assert_allclose(primal.predict(test), dual.predict(test), rtol=1e-6)
    np.testing.assert_allclose(primal.directions(), dual.directions()[:15], atol=1e-9)
    scaled = StandardScaler().fit(x[train]).transform(x)
    for fit in (primal, dual):
        expected = Ridge(fit.penalties).fit(scaled[train], y[train]).predict(scaled[test])
        np.testing.assert_allclose(fit.predict(test), expected, rtol=1e-6)
