import numpy as np
import pandas as pd
import pytest

from utils.claims import judge_c1, judge_c3, judge_randomisation
from utils.concepts import regress
from utils.optvis.complexity import complexity_by_layer


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


def test_judgement_of_c3(planted):
    """Early layers that hold the concepts and deep ones that finetuning has made to."""
    features, measures, groups = planted
    measures = measures[["planted"]]
    generator = np.random.default_rng(2)
    signal = features["layer"]
    noise = {level: signal + level * generator.normal(size=signal.shape) for level in (1, 2, 9)}

    def network(early, deep):
        return regress({"a": early, "b": deep}, measures, groups, shuffles=0)

    networks = {
        "random": network(noise[2], noise[9]),
        "pretrained": network(signal, noise[9]),
        "finetuned": network(signal, noise[1]),
    }
    assert judge_c3(networks, groups).endswith("C3 is supported.")
    alike = {**networks, "random": networks["pretrained"]}
    assert judge_c3(alike, groups).endswith("C3 is not supported, or only in part.")
    networks["finetuned"] = networks["pretrained"]
    assert judge_c3(networks, groups).endswith("C3 is not supported, or only in part.")


@pytest.mark.parametrize(
    ("change", "words"),
    [(-0.2, "support C1: by both"), (0.2, "do not support"), (0, "not support")],
)
def test_verdict_follows_the_numbers(change, words, complexity_table):
    assert words in judge_c1(complexity_by_layer(complexity_table(change)))
