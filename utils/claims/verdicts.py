"""What the numbers say about the claims, by their endpoints, in words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from utils.claims.endpoints import ENDPOINTS, LEAST_GROUPS, LEVEL, SAMPLE
from utils.concepts.analysis import r2_interaction
from utils.concepts.regression import Regression
from utils.heatmaps import compare_with_rivals
from utils.optvis.survival import BEFORE, survival
from utils.statistics import sign_flip_p


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
        if self.outcome == "no verdict":
            sentence = f"{self.claim}: no verdict on {where} ({self.reason})."
        else:
            sentence = (
                f"{self.claim}: {self.outcome} on {where}. {self.effect}: {self.value:+.3f} "
                f"({LEVEL:.1%} interval {self.low:+.3f} to {self.high:+.3f}, {self.count} "
                f"{self.unit})."
            )
        return "\n".join([*self.details, sentence])


def judge_c1(
    activations: pd.DataFrame | None, backbone: str, *, steps: int = 0, scope: str = "sample"
) -> Verdict:
    """Judge whether the excitation by images of before survives finetuning.

    By the endpoint of C1: supported if the interval of the share that survives lies below one half,
    refuted if it lies around 1.

    Parameters
    ----------
    activations : DataFrame, from `cross_activation`, or None where nothing was rendered for it
    backbone : str
        Name of the backbone, which has layers of the endpoint.
    steps : int
        Number of steps by which the images were rendered.
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
    counts = {} if activations is None else activations["layer"].value_counts()
    if steps < endpoint.steps or any(counts.get(name, 0) < endpoint.channels for name in layers):
        reason = (
            f"the endpoint asks for {endpoint.channels} channels of each of {', '.join(layers)}, "
            f"and {endpoint.steps} steps"
        )
        return Verdict(**about, outcome="no verdict", reason=reason)
    table = survival(activations[activations["layer"].isin(layers)], level=LEVEL)
    table = table[table["layer"] == "all"].set_index("images")
    row = table.loc[BEFORE]
    details = tuple(
        f"{name} images: {other.share:.2f} ({other.low:.2f} to {other.high:.2f}) of the excitation"
        for name, other in table.drop(index=BEFORE).iterrows()
    )
    kept = endpoint.kept[0] <= row.low and row.high <= endpoint.kept[1]
    outcome = "refuted" if kept else "undecided"
    interval = {"value": row.share, "low": row.low, "high": row.high, "count": int(row.channels)}
    return Verdict(
        **about,
        **interval,
        outcome="supported" if row.high < endpoint.lost else outcome,
        effect=f"{endpoint.effect} ({int(row.dead)} dead channels left out)",
        details=details,
    )


def judge_c2(differences: pd.DataFrame, layer: str, *, scope: str = "sample") -> Verdict:
    """Judge whether Grad-CAM ranks neoplastic nuclei higher than it does without finetuning.

    By the endpoint of C2: supported if the AUROC within groups beats each rival by exact one-sided
    sign flips and by the least lead on average; refuted if the upper end of the difference from one
    of them is below that lead.

    Parameters
    ----------
    differences : DataFrame, from `differences_from_rivals`
    layer, scope : str
        Layer of the overlays, and source of the patches.

    Returns
    -------
    Verdict
    """
    endpoint = ENDPOINTS["C2"]
    is_map = (differences["method"] == endpoint.method) & (differences["layer"] == layer)
    of_map = differences[is_map]
    comparison = compare_with_rivals(of_map, level=LEVEL).set_index("rival")
    details = tuple(
        f"{rival}: AUROC {row.rival_auroc:.2f}, Grad-CAM at {layer} {row.auroc:.2f}, difference "
        f"{row.difference:+.2f} ({row.low:+.2f} to {row.high:+.2f}), {row.won} groups won and "
        f"{row.lost} lost"
        for rival, row in comparison.iterrows()
    )
    about = {"claim": "C2", "scope": scope}
    if missing := [rival for rival in endpoint.rivals if rival not in comparison.index]:
        reason = f"no {' and no '.join(missing)} to compare with"
        return Verdict(**about, outcome="no verdict", reason=reason, details=details)
    if (count := int(comparison["groups"].min())) < LEAST_GROUPS:
        reason = f"{count} groups with enough nuclei; expected at least {LEAST_GROUPS}"
        return Verdict(**about, outcome="no verdict", reason=reason, details=details)
    rivals = comparison.loc[list(endpoint.rivals)]
    by_rival = of_map.groupby("rival")["difference"]
    p_values = {rival: sign_flip_p(by_rival.get_group(rival)) for rival in endpoint.rivals}
    lead = rivals["difference"].min()
    won = max(p_values.values()) <= 1 - LEVEL and lead >= endpoint.lead
    outcome = "refuted" if rivals["high"].min() < endpoint.lead else "undecided"
    hardest = rivals.loc[rivals["difference"].idxmin()]
    details += tuple(f"p = {p:.4f} against the {rival}" for rival, p in p_values.items())
    return Verdict(
        **about,
        outcome="supported" if won else outcome,
        effect=f"{endpoint.effect} (the harder one, the {hardest.name})",
        value=lead,
        low=hardest["low"],
        high=hardest["high"],
        count=count,
        details=details,
    )


def judge_c3(
    regressions: Mapping[str, Mapping[str, Regression]],
    layers: Sequence[str],
    *,
    scope: str = "sample",
) -> Verdict:
    """Judge whether finetuning changes where texture is readable.

    By the endpoint of C3: supported if the interval excludes 0 and the difference reaches the
    margin on either side; refuted if the interval is within the margin.

    Parameters
    ----------
    regressions : mapping of str to (mapping of str to Regression)
        By network (``pretrained``, ``finetuned``, ``finetuned 2``, ...) and layer.
    layers : sequence of str
        Sound analysis layers, from input to output.
    scope : str
        Source of the patches.

    Returns
    -------
    Verdict
    """
    endpoint = ENDPOINTS["C3"]
    early, deep = early_and_deep(layers)
    value, low, high = r2_interaction(regressions, early, deep, level=LEVEL)
    groups = len(np.unique(next(iter(regressions["pretrained"].values())).groups))
    about = {"claim": "C3", "scope": scope, "count": groups}
    if groups < LEAST_GROUPS or np.isnan(low):
        reason = f"{groups} held-out groups; expected at least {LEAST_GROUPS}, two in each image"
        return Verdict(**about, outcome="no verdict", reason=reason)
    if (low > 0 or high < 0) and abs(value) >= endpoint.margin:
        outcome = "supported"
    else:
        within = -endpoint.margin < low and high < endpoint.margin
        outcome = "refuted" if within else "undecided"
    interval = {"value": value, "low": low, "high": high}
    return Verdict(**about, **interval, outcome=outcome, effect=endpoint.effect)


def early_and_deep(layers: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the first and the last third of the layers, at least one layer each."""
    layers = list(layers)
    third = max(1, len(layers) // 3)
    return layers[:third], layers[-third:]
