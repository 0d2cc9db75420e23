"""What the numbers say about the claims, by their endpoints, in words."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from utils.claims.endpoints import ENDPOINTS, LEAST_FINETUNINGS, LEAST_GROUPS, LEVEL, SAMPLE
from utils.heatmaps import compare_with_rivals
from utils.optvis.survival import BEFORE, survival
from utils.statistics import jackknife_interval, sign_flip_p


@dataclass(frozen=True)
class Verdict:
    """What the data say about a claim."""

    claim: str
    outcome: str  # one of OUTCOMES
    scope: str  # what it was measured on
    effect: str = ""  # what was measured
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    count: int = 0
    unit: str = "groups"
    reason: str = ""  # why there is no verdict
    details: tuple[str, ...] = ()  # sentences that come before, with wins and losses

    def __str__(self) -> str:
        where = SAMPLE[self.claim] if self.scope == "sample" else self.scope
        reason = f" ({self.reason})" if self.reason else ""
        sentence = f"{self.claim}: {self.outcome} on {where}{reason}."
        if np.isfinite(self.value):
            interval = f"{LEVEL:.1%} interval {self.low:+.3f} to {self.high:+.3f}, "
            sentence += (
                f" {self.effect}: {self.value:+.3f} ({interval if np.isfinite(self.low) else ''}"
                f"{self.count} {self.unit})."
            )
        return "\n".join([*self.details, sentence])

    def without(self, reason: str) -> "Verdict":
        """Return the same values without a verdict on them."""
        return replace(self, outcome="no verdict", reason=reason)


def judge(
    claim: str,
    table: pd.DataFrame | None,
    *,
    backbone: str,
    finetunings: int,
    scope: str = "sample",
) -> Verdict:
    """Judge a claim by the table of its endpoint.

    Parameters
    ----------
    claim : str
        ``C1``, ``C2`` or ``C3``.
    table : DataFrame, or None where it was not measured
        As in `judge_c1`, `judge_c2` or `judge_c3`.
    backbone : str
    finetunings : int
        Number of finetuned networks.
    scope : str
        Source of the patches.

    Returns
    -------
    Verdict
    """
    about = {"finetunings": finetunings, "scope": scope}
    if claim == "C1":
        return judge_c1(table, backbone, **about)
    if table is None:
        reason = "its endpoint was not measured"
        return Verdict(claim=claim, outcome="no verdict", scope=scope, reason=reason)
    return {"C2": judge_c2, "C3": judge_c3}[claim](table, **about)


def judge_c1(
    activations: pd.DataFrame | None,
    backbone: str,
    *,
    finetunings: int = LEAST_FINETUNINGS,
    scope: str = "sample",
) -> Verdict:
    """Judge whether the excitation by images of before survives finetuning.

    By the endpoint of C1: supported if the interval of the share that survives lies below one half,
    refuted if it lies around 1.

    Parameters
    ----------
    activations : DataFrame, from `average_activations`, or None where nothing was rendered for it
    backbone : str
        Name of the backbone, which has layers of the endpoint.
    finetunings : int
        Number of finetuned networks.
    scope : str
        Source of the patches on which the network was finetuned.

    Returns
    -------
    Verdict
    """
    endpoint = ENDPOINTS["C1"]
    about = {"claim": "C1", "scope": scope, "unit": "channels"}
    layers = endpoint.layers.get(backbone)
    if layers is None:
        return Verdict(**about, outcome="no verdict", reason=f"no endpoint for {backbone}")
    asked = None if activations is None else activations[activations["layer"].isin(layers)]
    counts = {} if asked is None else asked["layer"].value_counts()
    too_few = any(counts.get(name, 0) < endpoint.channels for name in layers)
    if too_few or asked["steps"].min() < endpoint.steps:
        reason = (
            f"the endpoint asks for {endpoint.channels} channels of each of {', '.join(layers)}, "
            f"and {endpoint.steps} steps"
        )
        return Verdict(**about, outcome="no verdict", reason=reason)
    table = survival(asked.drop(columns="steps"), level=LEVEL)
    table = table[table["layer"] == "all"].set_index("images")
    row = table.loc[BEFORE]
    details = tuple(
        f"{name} images: {other.share:.2f} ({other.low:.2f} to {other.high:.2f}) of the excitation"
        for name, other in table.drop(index=BEFORE).iterrows()
    )
    kept = endpoint.kept[0] <= row.low and row.high <= endpoint.kept[1]
    outcome = "refuted" if kept else "undecided"
    interval = {"value": row.share, "low": row.low, "high": row.high, "count": int(row.channels)}
    verdict = Verdict(
        **about,
        **interval,
        outcome="supported" if row.high < endpoint.lost else outcome,
        effect=f"{endpoint.effect} ({int(row.dead)} dead channels left out)",
        details=details,
    )
    return _with_enough(verdict, finetunings)


def judge_c2(
    differences: pd.DataFrame, *, finetunings: int = LEAST_FINETUNINGS, scope: str = "sample"
) -> Verdict:
    """Judge whether Grad-CAM ranks neoplastic nuclei higher than it does without finetuning.

    By the endpoint of C2: supported if the AUROC within groups beats each rival by exact one-sided
    sign flips and by the least lead on average; refuted if the upper end of the difference from one
    of them is below that lead.

    Parameters
    ----------
    differences : DataFrame, from `differences_from_rivals`
        Those of the endpoint's method, at the layer of the overlays.
    finetunings : int
        Number of finetuned networks.
    scope : str
        Source of the patches.

    Returns
    -------
    Verdict
    """
    endpoint = ENDPOINTS["C2"]
    comparison = compare_with_rivals(differences, level=LEVEL).set_index("rival")
    details = tuple(
        f"{rival}: AUROC {row.rival_auroc:.2f}, Grad-CAM at {row.layer} {row.auroc:.2f}, "
        f"difference {row.difference:+.2f} ({row.low:+.2f} to {row.high:+.2f}), {row.won} groups "
        f"won and {row.lost} lost"
        for rival, row in comparison.iterrows()
    )
    about = {"claim": "C2", "scope": scope}
    if missing := [rival for rival in endpoint.rivals if rival not in comparison.index]:
        reason = f"no {' and no '.join(missing)} to compare with"
        return Verdict(**about, outcome="no verdict", reason=reason, details=details)
    rivals = comparison.loc[list(endpoint.rivals)]
    hardest = rivals.loc[rivals["difference"].idxmin()]
    verdict = Verdict(
        **about,
        outcome="refuted" if rivals["high"].min() < endpoint.lead else "undecided",
        effect=f"{endpoint.effect} (the harder one, the {hardest.name})",
        value=hardest["difference"],
        low=hardest["low"],
        high=hardest["high"],
        count=int(comparison["groups"].min()),
        details=details,
    )
    if verdict.count < LEAST_GROUPS:
        reason = f"{verdict.count} groups with enough nuclei; expected at least {LEAST_GROUPS}"
        return verdict.without(reason)
    by_rival = differences.groupby("rival")["difference"]
    p_values = {rival: sign_flip_p(by_rival.get_group(rival)) for rival in endpoint.rivals}
    details += tuple(f"p = {p:.4f} against the {rival}" for rival, p in p_values.items())
    verdict = replace(verdict, details=details)
    if max(p_values.values()) <= 1 - LEVEL and verdict.value >= endpoint.lead:
        verdict = replace(verdict, outcome="supported")
    return _with_enough(verdict, finetunings)


def judge_c3(
    interaction: pd.DataFrame, *, finetunings: int = LEAST_FINETUNINGS, scope: str = "sample"
) -> Verdict:
    """Judge whether finetuning changes where texture is readable.

    By the endpoint of C3: supported if the interval excludes 0 and the difference reaches the
    margin on either side; refuted if the interval is within the margin.

    Parameters
    ----------
    interaction : DataFrame, from `r2_interaction`
        Difference of the last and the first third of the sound layers.
    finetunings : int
        Number of finetuned networks.
    scope : str
        Source of the patches.

    Returns
    -------
    Verdict
    """
    endpoint = ENDPOINTS["C3"]
    images = interaction["image"].fillna("").to_numpy()[1:]
    low, high = jackknife_interval(interaction["difference"].to_numpy(), LEVEL, images)
    verdict = Verdict(
        claim="C3",
        outcome="undecided",
        scope=scope,
        effect=endpoint.effect,
        value=interaction["difference"].iloc[0],
        low=float(low),
        high=float(high),
        count=len(images),
    )
    if verdict.count < LEAST_GROUPS or np.isnan(low):
        expected = f"expected at least {LEAST_GROUPS}, two in each image"
        return verdict.without(f"{verdict.count} held-out groups; {expected}")
    if (low > 0 or high < 0) and abs(verdict.value) >= endpoint.margin:
        verdict = replace(verdict, outcome="supported")
    elif -endpoint.margin < low and high < endpoint.margin:
        verdict = replace(verdict, outcome="refuted")
    return _with_enough(verdict, finetunings)


def _with_enough(verdict: Verdict, finetunings: int) -> Verdict:
    """Withhold a verdict for which not every group has been held out."""
    if finetunings >= LEAST_FINETUNINGS:
        return verdict
    networks = "one finetuning" if finetunings == 1 else f"{finetunings} finetunings"
    return verdict.without(f"{networks}; expected at least {LEAST_FINETUNINGS}")


def early_and_deep(layers: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the first and the last third of layers.

    Parameters
    ----------
    layers : iterable of str
        From input to output.

    Returns
    -------
    early, deep : list of str
        At least one layer each.
    """
    layers = list(layers)
    third = max(1, len(layers) // 3)
    return layers[:third], layers[-third:]
