"""How often do the intervals and tests reject what is true?

    python benchmarks/levels.py [--runs 2000]

Simulates groups of very unequal size whose patches resemble each other, under the null: a mean of
0, two predictions that are equally good, paired differences whose signs are arbitrary. Prints the
share of false rejections at 5 % and at 5 % / 3, beside that of the percentile bootstrap that this
project once used. Takes about five minutes.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from utils.results import Results
from utils.statistics import (
    LEAST_GROUPS,
    grouped_r2,
    jackknife_interval,
    leave_one_out,
    max_t_p,
    mean_interval,
    sign_flip_p,
)

GROUPS = (3, 5, 6, 12, 32)
LEVELS = {"5 %": 0.05, "5 % / 3": 0.05 / 3}
RESULTS = Path(__file__).resolve().parent / "results"


def simulate(generator, groups):
    """Group of every patch, values that correlate within groups, and errors of two predictions."""
    sizes = np.maximum(1, generator.lognormal(2.3, 0.8, groups)).astype(int)
    codes = np.repeat(np.arange(groups), sizes)
    of_groups = generator.normal(size=(3, groups))[:, codes]
    return codes, of_groups + generator.normal(size=(3, len(codes)))


def excludes_zero(interval):
    return interval[0] > 0 or interval[1] < 0


def rejections(generator, groups, level):
    """Whether each way rejects the null of one simulated data set."""
    codes, (values, *errors) = simulate(generator, groups)
    means = pd.Series(values).groupby(codes).mean().to_numpy()
    numbers, weights = leave_one_out(codes)
    truth = values[:, None]
    one, other = (grouped_r2(truth, truth + e[:, None], numbers, weights) for e in errors)
    drawn = generator.integers(groups, size=(1000, groups))
    totals, sizes = np.bincount(codes, values), np.bincount(codes)
    resampled = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    result = {
        "mean of groups, Student": excludes_zero(mean_interval(means, 1 - level)),
        "difference of R2, jackknife": excludes_zero(
            jackknife_interval(one - other, 1 - level)[:, 0]
        ),
        "bootstrap of groups, for comparison": excludes_zero(
            np.percentile(resampled, [50 * level, 100 - 50 * level])
        ),
    }
    if LEAST_GROUPS <= groups <= 12:  # with more, the flips are drawn, which takes longer
        noise = means[:, None] + generator.normal(size=(groups, 4))
        result["sign flip"] = sign_flip_p(means) <= level
        result["largest of four, sign flips"] = max_t_p(noise).min() <= level
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    rows = []
    for groups in GROUPS:
        for name, level in LEVELS.items():
            generator = np.random.default_rng(groups)
            bar = tqdm(range(runs), desc=f"{groups} groups, {name}", unit="data set")
            table = pd.DataFrame(rejections(generator, groups, level) for _ in bar)
            error = np.sqrt(level * (1 - level) / runs)
            rows += [(way, name, groups, rate, error) for way, rate in table.mean().items()]
    columns = ["way", "level", "groups", "rejected", "monte_carlo_error"]
    table = pd.DataFrame(rows, columns=columns)
    wide = table.pivot(index=["level", "way"], columns="groups", values="rejected")
    print(wide.round(3).to_string(na_rep="refused or not run"))
    print(
        "Monte Carlo error:", table.groupby("level")["monte_carlo_error"].first().round(4).to_dict()
    )
    Results(RESULTS, "statistics").table(table, "levels.csv")


if __name__ == "__main__":
    main()
