import numpy as np
import pandas as pd

from utils.claims import judge_randomisation
from utils.heatmaps import ORDERS


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
