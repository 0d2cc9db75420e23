"""In which measures other sets of patches disagree with the first."""

import numpy as np
import pandas as pd

from utils.concepts.replication import EFFECTS


def disagreements(table: pd.DataFrame) -> list[str]:
    """Say in which measures other sets disagree with the first.

    Parameters
    ----------
    table : DataFrame, from `compare_sets`

    Returns
    -------
    list of str
        One sentence for each measure with a set whose effect has the opposite sign, whose interval
        excludes that of the first, or whose value, where one of both has no interval, is outside
        the other's. What is said without both intervals is called undecided.
    """
    by_set = {name: rows.set_index("measure") for name, rows in table.groupby("set", sort=False)}
    (first, reference), *others = by_set.items()
    sentences = []
    for measure, one in reference.iterrows():
        sign = "+" if measure in EFFECTS else ""
        differing = []
        for name, rows in others:
            if reason := _disagreement(one, rows.loc[measure], measure in EFFECTS):
                differing.append(f"{_interval(rows.loc[measure], sign)} in {name}: {reason}")
        if differing:
            start = f"{measure}: {_interval(one, sign)} in {first}"
            sentences.append("; ".join([start, *differing]) + ".")
    return sentences


def _disagreement(one: pd.Series, other: pd.Series, is_effect: bool) -> str:
    """Say how two measurements disagree, and whether that is decided; "" if they do not."""
    without = sum(np.isnan(row["low"]) for row in (one, other))
    # A value without an interval stands for both of its ends.
    ends = [row.fillna({"low": row["value"], "high": row["value"]}) for row in (one, other)]
    apart = max(row["low"] for row in ends) > min(row["high"] for row in ends)
    reasons = ["opposite signs"] if is_effect and one["value"] * other["value"] < 0 else []
    if apart and without < 2:  # two values without intervals are always apart
        reasons.append("outside the other interval" if without else "the intervals are apart")
    elif reasons and not without:
        reasons.append("but the intervals overlap")
    return ", ".join([*reasons, "undecided"] if reasons and without else reasons)


def _interval(row: pd.Series, sign: str) -> str:
    value, low, high = (f"{row[name]:{sign}.3f}" for name in ("value", "low", "high"))
    return f"{value} without an interval" if np.isnan(row["low"]) else f"{value} ({low} to {high})"
