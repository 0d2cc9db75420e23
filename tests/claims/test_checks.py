import numpy as np
import pandas as pd

from utils.claims import judge_priors, judge_randomisation
from utils.heatmaps.sanity import FULLY_RANDOM, ORDERS, TWO_RANDOM


def test_randomisation_passes_only_what_is_as_unlike_as_random_networks():
    patches = np.arange(12)
    groups = np.repeat(list("abcd"), 3)
    noise = np.random.default_rng(0).normal(0, 0.01, 12)

    def table(with_random, floor, method="m"):
        stages = (("late", 0.9), ("early", 0.5), (FULLY_RANDOM, with_random), (TWO_RANDOM, floor))
        return pd.concat(
            pd.DataFrame(
                {"method": method, "stage": name, "patch": patches, "group": groups}
            ).assign(spearman=value + noise * (name == FULLY_RANDOM), order=ORDERS[0])
            for name, value in stages
        )

    judge = judge_randomisation
    assert "m: passes" in judge(table(0.32, 0.3)) and "m: FAILS" in judge(table(0.5, 0.3))
    assert "m: passes" in judge(table(-0.2, 0.3))
    assert "m: FAILS" in judge(table(1, 1)) and "m: FAILS" in judge(table(0.8, 0.9))
    assert "m: undecided" in judge(table(0.4 - noise.mean(), 0.3))
    assert "+0.90 with the head randomised, +0.50 with all weights" in judge(table(0.5, 0.3))
    dead = table(np.nan, 0.3, "dead")
    said = judge(pd.concat([dead, table(0.5, 0.3)])).splitlines()
    assert said[0].startswith("dead: undecided") and said[1].startswith("m: FAILS")


def test_priors_are_judged_by_the_side_of_their_intervals():
    rows = [
        ("pretrained", "tissue", "ImageNet", -0.4, -0.6, -0.2, 12),
        ("finetuned", "tissue", "ImageNet", 0.1, -0.1, 0.3, 12),
        ("finetuned - pretrained", "tissue", "ImageNet", 0.5, 0.3, 0.7, 12),
    ]
    columns = ["network", "of", "to", "difference", "low", "high", "channels"]
    before, after, change = judge_priors(pd.DataFrame(rows, columns=columns)).splitlines()
    interval = "(-0.40, 95 % interval -0.60 to -0.20, 12 channels)"
    spectra = "under the spectrum of tissue than under that of ImageNet"
    assert before == f"pretrained: images reach less far {spectra} {interval}"
    assert "finetuned: images reach neither measurably further nor less under" in after
    assert change.startswith("finetuned - pretrained: the difference between the priors is larger")
