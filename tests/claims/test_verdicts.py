import numpy as np
import pandas as pd
import pytest

from utils.claims import ENDPOINTS, LEVEL, OUTCOMES, judge_c1, judge_c2, judge_c3
from utils.claims.verdicts import early_and_deep
from utils.concepts import regress
from utils.concepts.measures import TEXTURE
from utils.networks import BACKBONES


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
    assert f"({LEVEL:.1%} interval" in str(verdict) and f"{verdict.count} groups" in str(verdict)


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


def _activations(share, channels=24, spread=0.02):
    """Of a start at 1, and images that raise a channel by 10 now, and by a share of it before."""
    generator = np.random.default_rng(0)
    tables = []
    for layer in ENDPOINTS["C1"].layers["densenet121"]:
        gain = generator.uniform(5, 15, channels)
        before = 1 + gain * (share + spread * generator.normal(size=channels))
        columns = {"layer": layer, "channel": range(channels), "start": 1.0}
        columns |= {"pretrained": before, "finetuned": 1 + gain, "random": 1 + gain / 10}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables)


@pytest.mark.parametrize(
    ("share", "spread", "outcome"),
    [(0.2, 0.02, "supported"), (0.95, 0.02, "refuted"), (0.5, 0.5, "undecided")],
)
def test_judgement_of_c1(share, spread, outcome):
    verdict = judge_c1(_activations(share, spread=spread), "densenet121", steps=256)
    assert verdict.outcome == outcome and verdict.count == 72
    assert f"C1: {outcome} on one tumour" in str(verdict) and "72 channels" in str(verdict)
    assert "random images: 0.10 (0.10 to 0.10) of the excitation" in str(verdict)


def test_c1_needs_what_its_endpoint_asks_for():
    few = judge_c1(_activations(0.2, channels=8), "densenet121", steps=256)
    short = judge_c1(_activations(0.2), "densenet121", steps=64)
    none = judge_c1(None, "densenet121")
    for verdict in (few, short, none):
        assert "C1: no verdict on one tumour (the endpoint asks for 24 channels" in str(verdict)
    assert judge_c1(None, "resnet50").reason == "no endpoint for resnet50"


def test_early_and_deep_are_thirds():
    layers = list("abcdefg")
    assert early_and_deep(layers) == (["a", "b"], ["f", "g"])
    assert early_and_deep(dict.fromkeys("xy")) == (["x"], ["y"])


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
    assert verdict.count == groups and (groups or "5 groups with enough nuclei" in said)
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
