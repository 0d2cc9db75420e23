import numpy as np
import pandas as pd
import pytest

from utils.claims import ENDPOINTS, LEVEL, OUTCOMES, judge, judge_c1, judge_c2, judge_c3
from utils.claims.verdicts import early_and_deep
from utils.concepts.measures import TEXTURE
from utils.networks import BACKBONES


def _interaction(value, spread, groups=12):
    """A difference whose values without each group spread, half of the groups in each image."""
    generator = np.random.default_rng(0)
    shifts = spread * generator.normal(size=groups)
    names = [f"group {number}" for number in range(groups)]
    images = np.where(np.arange(groups) < groups // 2, "one", "other")
    columns = {"left_out": ["none", *names], "image": ["all", *images]}
    return pd.DataFrame({**columns, "difference": [value, *(value + shifts)]})


@pytest.mark.parametrize(
    ("value", "spread", "outcome"),
    [
        (0.3, 0.01, "supported"),
        (-0.3, 0.01, "supported"),
        (0.0, 0.001, "refuted"),
        (0.3, 0.1, "undecided"),
        (0.04, 0.0005, "refuted"),  # sure, but it does not matter
        (0.045, 0.002, "undecided"),
    ],
)
def test_judgement_of_c3(value, spread, outcome):
    verdict = judge_c3(_interaction(value, spread))
    assert verdict.outcome == outcome and verdict.low < verdict.value < verdict.high
    assert f"C3: {outcome} on two images of one tumour type" in str(verdict)
    assert f"({LEVEL:.1%} interval" in str(verdict) and "12 groups" in str(verdict)


def test_c3_without_enough_groups():
    said = str(judge_c3(_interaction(0.3, 0.01, groups=5), scope="mine"))
    assert said.startswith("C3: no verdict on mine (5 held-out groups; expected at least 6")
    assert "+0.300" in said


@pytest.mark.parametrize("finetunings", [1, 2])
def test_fewer_finetunings_give_values_and_no_verdict(finetunings):
    named = "one finetuning" if finetunings == 1 else "2 finetunings"
    for verdict in (
        judge_c1(_activations(0.2), "densenet121", finetunings=finetunings),
        judge_c2(_differences([0.1] * 7, [0.3] * 7), finetunings=finetunings),
        judge_c3(_interaction(0.3, 0.01), finetunings=finetunings),
    ):
        assert verdict.outcome == "no verdict" and np.isfinite(verdict.value)
        assert f"({named}; expected at least 3). " in str(verdict)
        assert f"{verdict.value:+.3f} ({LEVEL:.1%} interval" in str(verdict)


def test_what_was_not_measured_has_no_verdict():
    about = {"backbone": "densenet121", "finetunings": 9}
    assert "C3: no verdict" in str(judge("C3", None, **about))
    assert "C1: no verdict" in str(judge("C1", None, **about))
    assert judge("C3", _interaction(0.3, 0.01), **about).outcome == "supported"
    assert judge("C1", _activations(0.2), **about) == judge_c1(_activations(0.2), "densenet121")


def _activations(share, channels=24, spread=0.02):
    """Of a start at 1, and images that raise a channel by 10 now, and by a share of it before."""
    generator = np.random.default_rng(0)
    tables = []
    for layer in ENDPOINTS["C1"].layers["densenet121"]:
        gain = generator.uniform(5, 15, channels)
        before = 1 + gain * (share + spread * generator.normal(size=channels))
        columns = {"layer": layer, "channel": range(channels), "start": 1.0, "steps": 256}
        columns |= {"pretrained": before, "finetuned": 1 + gain, "random": 1 + gain / 10}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables)


@pytest.mark.parametrize(
    ("share", "spread", "outcome"),
    [(0.2, 0.02, "supported"), (0.95, 0.02, "refuted"), (0.5, 0.5, "undecided")],
)
def test_judgement_of_c1(share, spread, outcome):
    verdict = judge_c1(_activations(share, spread=spread), "densenet121")
    assert verdict.outcome == outcome and verdict.count == 72
    assert f"C1: {outcome} on one tumour" in str(verdict) and "72 channels" in str(verdict)
    assert "random images: 0.10 (0.10 to 0.10) of the excitation" in str(verdict)


def test_c1_needs_what_its_endpoint_asks_for():
    few = judge_c1(_activations(0.2, channels=8), "densenet121")
    short = judge_c1(_activations(0.2).assign(steps=64), "densenet121")
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
        ([0.1, 0.2, 0.3, 0.1, 0.2], "no verdict", 5),
    ],
)
def test_judgement_of_c2(pretrained, outcome, groups):
    shuffled = np.linspace(0.3, 0.5, len(pretrained))
    verdict = judge_c2(_differences(pretrained, shuffled))
    said = str(verdict)
    assert verdict.outcome == outcome and verdict.outcome in OUTCOMES
    assert f"C2: {outcome} on one nest of one tumour" in said
    assert f"{np.sum(np.array(pretrained) < 0)} lost" in said
    assert verdict.count == groups and (groups > 5 or "5 groups with enough nuclei" in said)
    assert verdict.value == pytest.approx(np.mean(pretrained))
    assert "block" not in said and "region" not in said


def test_c2_needs_both_rivals():
    verdict = judge_c2(_differences([0.1] * 7, []), scope="my slides")
    assert "C2: no verdict on my slides (no shuffled network to compare with)" in str(verdict)


def test_endpoints_are_those_that_were_fixed():
    """A change of an endpoint is a change of the question, and has to be made on purpose."""
    one, two, three = ENDPOINTS["C1"], ENDPOINTS["C2"], ENDPOINTS["C3"]
    assert (LEVEL, one.lost, one.kept, one.steps) == (1 - 0.05 / 3, 0.5, (0.75, 1.25), 256)
    assert (two.method, two.lead, len(two.rivals)) == ("gradcam", 0.05, 2)
    assert three.margin == 0.05 and set(three.concepts) == set(TEXTURE)
    for backbone, layers in one.layers.items():
        assert set(layers) <= set(BACKBONES[backbone].layers)
