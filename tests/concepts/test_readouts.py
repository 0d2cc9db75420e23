import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from utils.concepts import concept_readouts


def test_readouts_are_linear_and_scored_on_held_out_groups(planted):
    features, measures, groups = planted
    readouts, table = concept_readouts(features["layer"], measures, groups)
    r2 = table.set_index("concept")["r2"]
    assert r2["planted"] == pytest.approx(0.8, abs=0.05) and r2["null"] < 0.05
    expected = LinearRegression().fit(features["layer"], measures["planted"])
    predicted = readouts["planted"](features["layer"])
    assert np.corrcoef(predicted, expected.predict(features["layer"]))[0, 1] > 0.999


def test_one_group_holds_nothing_out():
    features = np.random.default_rng(0).normal(size=(30, 3))
    measures = pd.DataFrame({"first": features[:, 0]})
    readouts, table = concept_readouts(features, measures, np.zeros(30))
    assert np.isnan(table["r2"]).all()
    predicted = readouts["first"](100 * features)
    assert np.corrcoef(readouts["first"](features), features[:, 0])[0, 1] > 0.9
    assert predicted.min() == features[:, 0].min() and predicted.max() == features[:, 0].max()
