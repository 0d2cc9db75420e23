"""What the numbers say beside the claims: whether maps see the network, what is used and kept."""

import pandas as pd

from utils.claims.verdicts import early_and_deep
from utils.heatmaps.sanity import FULLY_RANDOM, ORDERS, OTHER_PATCH
from utils.statistics import intervals

KEPT = {
    "more": "more in early than in deep layers",
    "less": "more in deep than in early layers",
    "undecided": "not measurably more in early or in deep layers",
}


def judge_randomisation(table: pd.DataFrame) -> str:
    """Judge for each method whether its maps depend on the weights.

    It fails where the maps of the fully random network are more similar to the original ones than
    those of another patch, and passes where they are less similar (95 % interval of the paired
    difference of rank correlations over groups).

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
        paired = from_head.pivot_table("spearman", ["patch", "group"], "stage").reset_index()
        if not {FULLY_RANDOM, OTHER_PATCH} <= set(paired):
            lines.append(f"{method}: undecided; the random network's maps are all constant.")
            continue
        paired["difference"] = paired[FULLY_RANDOM] - paired[OTHER_PATCH]
        interval = intervals(paired, [], ["difference"]).iloc[0]
        low, high, groups = interval[["low", "high", "groups"]]
        lines.append(
            f"{method}: {_outcome(low, high, 'FAILS', 'passes')}; rank correlation with the fully "
            f"random network's maps {paired[FULLY_RANDOM].mean():+.2f}, with those of another "
            f"patch {paired[OTHER_PATCH].mean():+.2f}, difference {low:+.2f} to {high:+.2f} over "
            f"{groups} groups"
        )
    return "\n".join(lines)


def judge_relevance(table: pd.DataFrame) -> str:
    """Count the layers and concepts on which the output depends beyond chance.

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
        line = f"{network}: {len(sure)} of {count} concepts and layers are relevant (q < 0.05)"
        if len(sure):
            top = sure.loc[sure["br"].abs().idxmax()]
            line += f"; the largest is {top['concept']} at {top['layer']}, Br {top['br']:+.2f}"
        lines.append(line)
    return "\n".join(lines)


def judge_reuse(cka: pd.DataFrame) -> str:
    """Judge whether finetuning keeps early features more than deep ones.

    They differ where their mean intervals, which are wider than necessary, do not overlap.

    Parameters
    ----------
    cka : DataFrame, from `cka_by_layer`
        Similarity of pretrained with finetuned, and of pretrained with random.

    Returns
    -------
    str
    """
    pairs = cka[cka["one"] == "pretrained"].set_index(["other", "layer"])[["cka", "low", "high"]]
    (early, random_early), (deep, random_deep) = (
        [pairs.loc[other].loc[layers].mean() for other in ("finetuned", "random")]
        for layers in early_and_deep(pairs.loc["finetuned"].index)
    )
    kept = KEPT[_outcome(early["low"] - deep["high"], early["high"] - deep["low"])]
    early_lead, deep_lead = early["cka"] - random_early["cka"], deep["cka"] - random_deep["cka"]
    return (
        f"CKA of pretrained and finetuned: {early['cka']:.2f} in early layers, {deep['cka']:.2f} "
        f"in deep ones; of pretrained and random {random_early['cka']:.2f} and "
        f"{random_deep['cka']:.2f}. Features are kept {kept}. The lead over a random network is "
        f"{early_lead:+.2f} in early and {deep_lead:+.2f} in deep layers, larger in "
        f"{'deep' if deep_lead > early_lead else 'early'} ones."
    )


def _outcome(low: float, high: float, above: str = "more", below: str = "less") -> str:
    """Return the word for the side of 0 on which an interval lies."""
    return above if low > 0 else below if high < 0 else "undecided"
