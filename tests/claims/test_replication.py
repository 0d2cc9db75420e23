import numpy as np
import pandas as pd
import pytest

from utils.claims import disagreements
from utils.concepts import compare_sets
from utils.concepts.replication import EFFECTS, LEAD

AUC, ACCURACY = "AUC, finetuned network", "balanced accuracy, finetuned network"


def _table(values, reach=0.1):
    rows = [(measure, v, v - reach, v + reach, 8, 80) for measure, v in values.items()]
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "groups", "patches"])


def test_disagreements_are_named_with_both_numbers():
    sample = _table({LEAD: 0.3, EFFECTS[1]: 0.05, EFFECTS[2]: 0.2, AUC: 0.9, ACCURACY: 0.8})
    second = _table({LEAD: -0.2, EFFECTS[1]: -0.04, EFFECTS[2]: 0.15, AUC: 0.6, ACCURACY: 0.7})
    lead, gain, auc = disagreements(compare_sets({"sample": sample, "second": second}))
    numbers = "+0.300 (+0.200 to +0.400) in sample; -0.200 (-0.300 to -0.100) in second"
    assert lead == f"{LEAD}: {numbers}: opposite signs, the intervals are apart."
    assert gain.startswith(EFFECTS[1])
    assert gain.endswith("in second: opposite signs, but the intervals overlap.")
    assert auc.startswith(f"{AUC}: 0.900 (0.800 to 1.000) in sample; 0.600 (0.500 to 0.700)")
    assert auc.endswith(" in second: the intervals are apart.")


@pytest.mark.parametrize("without", ["sample", "second", "both"])
def test_without_intervals_a_disagreement_is_undecided(without):
    tables = {
        "sample": _table({LEAD: 0.3, AUC: 0.9, ACCURACY: 0.8}),
        "second": _table({LEAD: -0.2, AUC: 0.6, ACCURACY: 0.75}),
    }
    missing = ["sample", "second"] if without == "both" else [without]
    for name in missing:
        tables[name] = tables[name].assign(low=np.nan, high=np.nan)
    lead, *others = disagreements(compare_sets(tables))
    assert lead.startswith(LEAD) and ": opposite signs" in lead and lead.endswith("undecided.")
    assert lead.count("without an interval") == len(missing)
    if without == "both":  # nothing says how far apart two values may be
        assert others == []
    else:
        (auc,) = others
        assert auc.startswith(AUC) and "0.600" in auc and "0.900" in auc
        assert auc.endswith(": outside the other interval, undecided.")


def test_one_sentence_names_all_sets_that_disagree_with_the_first():
    values = {"sample": 0.3, "second": -0.3, "matched": 0.25, "third": -0.5}
    tables = {name: _table({LEAD: value}) for name, value in values.items()}
    (sentence,) = disagreements(compare_sets(tables))
    assert sentence.startswith(f"{LEAD}: +0.300 (+0.200 to +0.400) in sample; -0.300")
    assert "in second: opposite" in sentence and "; -0.500" in sentence
    assert "in third: opposite" in sentence and "matched" not in sentence
