import numpy as np
import pandas as pd
import pytest

from utils.claims import ENDPOINTS, LEVEL, OUTCOMES, judge_c1, judge_c2, judge_c3
from utils.claims.verdicts import early_and_deep
from utils.concepts import regress
from utils.concepts.measures import TEXTURE
from utils.networks import BACKBONES
from utils.optvis.complexity import complexity_by_layer


def _networks(planted, noise, finetuned_noise, seeds=1):
    """Regressions of an early layer that holds the concept, and of a deep one with noise."""
    features, measures, groups = planted
    measures, signal = measures[["planted"]], features["layer"]
    generator = np.random.default_rng(2)
    images = np.where(groups < np.median(groups), "one", "other")

    def network(noise):
        deep = signal + noise * generator.normal(size=signal.shape)
        layers = {"early": signal, "deep": deep}
        return regress(layers, measures, groups, images=images, permutations=0)

    networks = {"pretrained": network(noise), "finetuned": network(finetuned_noise)}
    return networks | {f"finetuned {i + 1}": network(finetuned_noise) for i in range(1, seeds)}


@pytest.mark.parametrize(
    ("noise", "outcome", "sign"),
    [((1, 0.2), "supported", 1), ((1, 5), "supported", -1), ((0.1, 0.1), "refuted", 0)],
)
def test_judgement_of_c3(planted, noise, outcome, sign):
    verdict = judge_c3(_networks(planted, *noise), ["early", "deep"])
    assert verdict.outcome == outcome and verdict.low < verdict.value < verdict.high
    assert sign == 0 or np.sign(verdict.value) == sign
    assert f"C3: {outcome} on two images of one tumour type" in str(verdict)
    assert f"({LEVEL:.1%} interval" in str(verdict) and f"{verdict.groups} groups" in str(verdict)


def test_c3_averages_over_seeds_before_it_judges(planted):
    networks, layers = _networks(planted, 1, 0.5, seeds=2), ["early", "deep"]
    one, other = (
        judge_c3(networks | {"finetuned": networks[name], "finetuned 2": networks[name]}, layers)
        for name in ("finetuned", "finetuned 2")
    )
    both = judge_c3(networks, layers)
    assert both.value == pytest.approx((one.value + other.value) / 2)


def test_c3_without_enough_groups(planted):
    features, measures, groups = planted
    few = groups < np.unique(groups)[5]
    layers = {name: features["layer"][few] for name in ("early", "deep")}
    one = regress(layers, measures[few], groups[few], folds=2, permutations=0)
    verdict = judge_c3({"pretrained": one, "finetuned": one}, ["early", "deep"], scope="mine")
    assert str(verdict).startswith("C3: no verdict on mine (5 held-out groups; expected at least 6")


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
    ("pretrained", "outcome", "groups"),
    [
        ([0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1], "supported", 7),
        ([0.01, 0.02, 0.03, 0.01, 0.02, 0.03, 0.01], "refuted", 7),  # sure, but it does not matter
        ([0.4, -0.2, 0.4, -0.2, 0.4, -0.2, 0.4], "undecided", 7),
        ([0.1, 0.2, 0.3, 0.1, 0.2], "no verdict", 0),
    ],
)
def test_judgement_of_c2(pretrained, outcome, groups):
    shuffled = np.linspace(0.3, 0.5, len(pretrained))
    verdict = judge_c2(_differences(pretrained, shuffled), "late")
    said = str(verdict)
    assert verdict.outcome == outcome and verdict.outcome in OUTCOMES
    assert f"C2: {outcome} on one nest of one tumour" in said
    assert f"{np.sum(np.array(pretrained) < 0)} lost" in said
    assert verdict.groups == groups and (groups or "5 groups with enough nuclei" in said)
    assert groups == 0 or verdict.value == pytest.approx(np.mean(pretrained))
    assert "block" not in said and "region" not in said


def test_c2_needs_both_rivals():
    verdict = judge_c2(_differences([0.1] * 7, []), "late", scope="my slides")
    assert "C2: no verdict on my slides (no shuffled network to compare with)" in str(verdict)


def test_endpoints_are_those_that_were_fixed():
    """A change of an endpoint is a change of the question, and has to be made on purpose."""
    one, two, three = ENDPOINTS["C1"], ENDPOINTS["C2"], ENDPOINTS["C3"]
    assert (LEVEL, one.lost, one.kept, one.steps) == (1 - 0.05 / 3, 0.5, (0.75, 1.25), 256)
    assert (two.method, two.lead, len(two.rivals)) == ("gradcam", 0.05, 2)
    assert three.margin == 0.05 and set(three.concepts) == set(TEXTURE)
    for backbone, layers in one.layers.items():
        assert set(layers) <= set(BACKBONES[backbone].layers)
