import numpy as np
import pandas as pd
import pytest

from utils.claims import judge_c1, judge_c2, judge_c3, judge_randomisation
from utils.claims.verdicts import early_and_deep
from utils.concepts import regress
from utils.heatmaps import ORDERS
from utils.optvis.complexity import complexity_by_layer


def test_randomisation_passes_only_what_is_less_alike_than_other_patches():
    patches = np.arange(12)
    groups = np.repeat(list("abcd"), 3)
    noise = np.random.default_rng(0).normal(0, 0.01, 12)

    def table(with_random, with_other):
        stages = (("all", with_random), ("another patch", with_other))
        return pd.concat(
            pd.DataFrame({"method": "m", "stage": name, "patch": patches, "group": groups}).assign(
                spearman=value + noise * (name == "all"), order=ORDERS[0]
            )
            for name, value in stages
        )

    judge = judge_randomisation
    assert "m: passes" in judge(table(0.1, 0.3)) and "m: FAILS" in judge(table(0.5, 0.3))
    assert "m: undecided" in judge(table(0.3 - noise.mean(), 0.3))


def test_judgement_of_c3(planted):
    """Early layers that hold the concepts and deep ones that finetuning has made to."""
    features, measures, groups = planted
    measures = measures[["planted"]]
    generator = np.random.default_rng(2)
    signal = features["layer"]
    noise = {level: signal + level * generator.normal(size=signal.shape) for level in (1, 2, 9)}

    def network(early, deep):
        return regress({"a": early, "b": deep}, measures, groups, permutations=0)

    networks = {
        "random": network(noise[2], noise[9]),
        "pretrained": network(signal, noise[9]),
        "finetuned": network(signal, noise[1]),
    }
    assert judge_c3(networks).endswith("C3 is supported.")
    alike = {**networks, "random": networks["pretrained"]}
    assert judge_c3(alike).endswith("C3 is not supported, or only in part.")
    networks["finetuned"] = networks["pretrained"]
    assert judge_c3(networks).endswith("C3 is not supported, or only in part.")


@pytest.mark.parametrize(
    ("change", "words"),
    [(-0.2, "support C1: by both"), (0.2, "do not support"), (0, "not support")],
)
def test_verdict_follows_the_numbers(change, words, complexity_table):
    assert words in judge_c1(complexity_by_layer(complexity_table(change)))


def test_all_claims_mean_the_same_by_early_and_deep():
    layers = list("abcdefg")
    assert early_and_deep(layers) == (["a", "b"], ["f", "g"])
    assert early_and_deep(dict.fromkeys("xy")) == (["x"], ["y"])
    rows = [
        (layer, measure, network, value, value - 0.1, value + 0.1, 9)
        for measure in ("bytes_per_pixel", "spectral_slope")
        for network in ("finetuned - pretrained", "random - pretrained")
        for layer, value in zip(layers, (1, 1, 1, 1, 1, -1, -1), strict=True)
    ]
    columns = ["layer", "measure", "network", "mean", "low", "high", "n"]
    said = judge_c1(pd.DataFrame(rows, columns=columns))
    assert "lower after finetuning in 2 of the 2 deep layers" in said and "support C1:" in said


def _differences(pretrained, shuffled):
    """By group, from two rivals."""
    rows = [
        ("gradcam", "late", f"{rival} network", f"group {number}", 0.9, 0.9 - value, value)
        for rival, values in (("pretrained", pretrained), ("shuffled", shuffled))
        for number, value in enumerate(values)
    ]
    columns = ["method", "layer", "rival", "group", "auroc", "rival_auroc", "difference"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize(
    ("pretrained", "outcome"),
    [
        ([0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1], "supported in one nest of one tumour"),
        ([0.01, 0.02, 0.03, 0.01, 0.02, 0.03, 0.01], "refuted"),  # sure, but it does not matter
        ([0.4, -0.2, 0.4, -0.2, 0.4, -0.2, 0.4], "undecided"),
        ([0.1, 0.2, 0.3, 0.1, 0.2], "no verdict (5 groups with enough nuclei"),
    ],
)
def test_judgement_of_c2(pretrained, outcome):
    shuffled = np.linspace(0.3, 0.5, len(pretrained))
    said = judge_c2(_differences(pretrained, shuffled), "late")
    assert f"C2: {outcome}" in said
    assert f"{np.sum(np.array(pretrained) < 0)} lost" in said
    assert "block" not in said and "region" not in said


def test_c2_needs_both_rivals():
    table = _differences([0.1] * 7, [])
    assert "C2: no verdict (no shuffled network)" in judge_c2(table, "late")
