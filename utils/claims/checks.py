"""What the numbers say beside the claims: whether maps see the network, what is used and kept."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from utils.claims.verdicts import early_and_deep
from utils.heatmaps.sanity import FULLY_RANDOM, ORDERS, TWO_RANDOM
from utils.statistics import intervals, jackknife_interval

KEPT = {
    "more": "more in early than in deep layers",
    "less": "more in deep than in early layers",
    "undecided": "not measurably more in early or in deep layers",
}
FURTHER = {
    "more": "further",
    "less": "less far",
    "undecided": "neither measurably further nor less",
}
ANOTHER = {"more": "larger", "less": "smaller", "undecided": "not measurably another"}
MOST_ALIKE = 0.5  # rank correlation above which a map hardly depends on the weights
MARGIN = 0.1  # of rank correlations, below which maps are as alike as those of random networks


def judge_randomisation(table: pd.DataFrame) -> str:
    """Judge for each method whether its maps depend on the weights.

    The floor is how alike the maps of two random networks are for the same patch. A method passes
    where its maps, once every weight is random, have a rank correlation with the original ones
    below `MOST_ALIKE`, and no higher than the floor, up to `MARGIN`; it fails where one of both is
    exceeded (95 % intervals over groups). The floor alone would pass a method that shows the patch,
    whatever the network. How alike maps are with the head alone randomised is told beside it.

    Parameters
    ----------
    table : DataFrame, from `cascading_randomisation`

    Returns
    -------
    str
    """
    lines = []
    for method, rows in table.groupby("method", sort=False):
        from_head = rows[rows["order"] == ORDERS[0]]
        by_stage = from_head.groupby("stage", sort=False)["spearman"].mean()
        if by_stage.reindex([FULLY_RANDOM, TWO_RANDOM]).isna().any():
            lines.append(f"{method}: undecided; the maps of random networks are all constant.")
            continue
        paired = from_head.pivot_table("spearman", ["patch", "group"], "stage").reset_index()
        paired["difference"] = paired[FULLY_RANDOM] - paired[TWO_RANDOM]
        over_groups = intervals(paired, [], [FULLY_RANDOM, "difference"])
        limits = np.array([MOST_ALIKE, MARGIN])
        fails = (over_groups["low"] > limits).any()
        passes = (over_groups["high"] < limits).all()
        outcome = "FAILS" if fails else "passes" if passes else "undecided"
        low, high, groups = over_groups.iloc[1][["low", "high", "groups"]]
        lines.append(
            f"{method}: {outcome}; rank correlation with the original maps {by_stage.iloc[0]:+.2f} "
            f"with the head randomised, {by_stage[FULLY_RANDOM]:+.2f} with all weights, between "
            f"two random networks {by_stage[TWO_RANDOM]:+.2f}; the last two differ by "
            f"{low:+.2f} to {high:+.2f} over {groups} groups"
        )
    return "\n".join(lines)


def judge_relevance(table: pd.DataFrame) -> str:
    """Count the layers and concepts on which the output depends beyond chance.

    With few permutations for many tests, only several at once can be significant; this is said.

    Parameters
    ----------
    table : DataFrame, ``relevance`` from `analyse`

    Returns
    -------
    str
    """
    lines = []
    for network, rows in table.groupby("network", sort=False):
        sure = rows[(rows["q_random"] < 0.05) & (rows["q_permuted"] < 0.05)]
        count = rows["ratio"].notna().sum()
        line = f"{network}: {len(sure)} of {count} concepts and layers are relevant (q < 0.05"
        tests = len(rows.dropna(subset="ratio")[["concept", "layer"]].drop_duplicates())
        together = int(rows["least_p"].max() * tests / 0.05) + 1  # for a q below 0.05
        line += "; none can be)" if together > tests else f"; fewer than {together} cannot be)"
        if len(sure):
            top = sure.loc[sure["br"].abs().idxmax()]
            line += f"; the largest is {top['concept']} at {top['layer']}, Br {top['br']:+.2f}"
        lines.append(line)
    return "\n".join(lines)


def judge_reuse(left_out: pd.DataFrame, layers: Sequence[str]) -> str:
    """Judge whether finetuning keeps early features more than deep ones.

    By the 95 % interval, over groups, of the difference of CKA between early and deep layers.

    Parameters
    ----------
    left_out : DataFrame, from `cka_left_out`
        With the pairs of pretrained and finetuned, and of pretrained and random.
    layers : sequence of str
        Sound layers, from input to output.

    Returns
    -------
    str
    """
    thirds, left_out = early_and_deep(layers), left_out.sort_index()
    kept, floor = (
        [left_out.loc[("pretrained", other)].loc[names].mean().to_numpy() for names in thirds]
        for other in ("finetuned", "random")
    )
    kept_more, lead_more = kept[0] - kept[1], kept[0] - floor[0] - kept[1] + floor[1]
    words = []
    for difference in (kept_more, lead_more):
        low, high = jackknife_interval(difference)
        interval = f"{difference[0]:+.2f}, {low:+.2f} to {high:+.2f}"
        words.append(f"{KEPT[_outcome(low, high)]} ({interval})")
    return (
        f"CKA of pretrained and finetuned: {kept[0][0]:.2f} in early layers, {kept[1][0]:.2f} in "
        f"deep ones; of pretrained and random {floor[0][0]:.2f} and {floor[1][0]:.2f}. Features "
        f"are kept {words[0]}. They lead over those of a random network {words[1]}."
    )


def judge_priors(summary: pd.DataFrame) -> str:
    """Judge under which prior images of channels reach further, and whether finetuning changes it.

    Parameters
    ----------
    summary : DataFrame, from `utils.optvis.priors.compare_priors`

    Returns
    -------
    str, one line per row
    """
    lines = []
    for row in summary.itertuples():
        interval = f"{row.difference:+.2f}, 95 % interval {row.low:+.2f} to {row.high:+.2f}"
        outcome = _outcome(row.low, row.high)
        if " - " in row.network:
            line = f"{row.network}: the difference between the priors is {ANOTHER[outcome]}"
        else:
            line = f"{row.network}: images reach {FURTHER[outcome]} under the spectrum of {row.of} "
            line += f"than under that of {row.to}"
        lines.append(f"{line} ({interval}, {row.channels} channels)")
    return "\n".join(lines)


def _outcome(low: float, high: float, above: str = "more", below: str = "less") -> str:
    """Return the word for the side of 0 on which an interval lies."""
    return above if low > 0 else below if high < 0 else "undecided"
