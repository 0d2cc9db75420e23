import numpy as np
import pandas as pd

from utils.concepts import analyse, in_sample_r2, r2_table, regress, relevance


def test_analysis_is_that_of_its_parts_without_patches_that_lack_a_measure(planted):
    features, measures, groups = planted
    measures = measures.copy()
    measures.loc[[3, 77], "null"] = np.nan
    generator = np.random.default_rng(0)
    noisy = {"layer": features["layer"] + generator.normal(size=(480, 20)).astype(np.float32)}
    slopes = {"layer": generator.normal(size=(480, 20)).astype(np.float32)}
    kept = []

    def once(function, *arguments, **options):
        kept.append(function.__name__)
        return function(*arguments, **options)

    options = {"folds": 4, "repeats": 2, "permutations": 9, "seed": 1}
    networks = {"random": noisy, "random 2": noisy, "finetuned": features}
    analysis = analyse(
        networks, measures, groups, gradients={"finetuned": slopes}, once=once, **options
    )
    assert np.flatnonzero(~analysis.known).tolist() == [3, 77]
    assert kept == ["in_sample_r2"] * 3 + ["regress"] * 3 + ["r2_table"] * 3 + ["relevance"]
    rows = analysis.held_out.groupby(["network", "seed"], sort=False).size()
    assert rows.to_dict() == {("random", 0): 2, ("random", 1): 2, ("finetuned", 0): 2}

    x, slopes = {"layer": features["layer"][analysis.known]}, slopes["layer"][analysis.known]
    measures, groups = measures[analysis.known], groups[analysis.known]
    expected = regress(x, measures, groups, gradients={"layer": slopes}, **options)
    for table, parts in (
        (analysis.in_sample, in_sample_r2(x, measures)),
        (analysis.held_out, r2_table(expected, groups, seed=1)),
        (analysis.relevance, relevance(expected, {"layer": slopes}, groups, seed=1)),
    ):
        table = table[table["network"] == "finetuned"].drop(columns=["network", "seed"])
        pd.testing.assert_frame_equal(table, parts)
    predicted = analysis.regressions["finetuned"]["layer"].predicted
    np.testing.assert_array_equal(predicted, expected["layer"].predicted)


def test_analysis_without_gradients_has_no_relevance(planted):
    features, measures, groups = planted
    analysis = analyse({"random": features}, measures, groups, repeats=1, permutations=0)
    assert analysis.relevance.empty and analysis.known.all()
