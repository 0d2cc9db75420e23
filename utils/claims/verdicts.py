"""What the numbers say about the claims, in words."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from utils.concepts.regression import Regression
from utils.concepts.scoring import r2_difference
from utils.heatmaps import FULLY_RANDOM, OTHER_PATCH
from utils.heatmaps import MEASURES as heat_map_measures
from utils.optvis.complexity import MEASURES as complexity_measures
from utils.statistics import intervals


def judge_c1(complexity: pd.DataFrame) -> str:
    """Judge whether finetuning makes the images of deep layers simpler, as claim C1 states.

    Parameters
    ----------
    complexity : DataFrame
        From `complexity_by_layer`, of networks ``pretrained``, ``finetuned`` and ``random``.

    Returns
    -------
    str
        One sentence per measure, on the deep layers (`early_and_deep`), and a verdict.
    """
    deep = early_and_deep(dict.fromkeys(complexity["layer"]))[1]
    rows = complexity[complexity["layer"].isin(deep)].set_index(["measure", "network"]).sort_index()
    sentences, simpler, more = [], [], []
    for measure, title in complexity_measures.items():
        change = rows.loc[(measure, "finetuned - pretrained")]
        to_random = rows.loc[(measure, "random - pretrained")]
        lower, higher = (change["high"] < 0).sum(), (change["low"] > 0).sum()
        simpler.append(lower)
        more.append(higher)
        sentences.append(
            f"{title}: lower after finetuning in {lower} of the {len(deep)} deep layers, higher "
            f"in {higher}, undecided in {len(deep) - lower - higher} (mean change "
            f"{change['mean'].mean():+.3f}; to random {to_random['mean'].mean():+.3f})."
        )
    if min(simpler) > len(deep) / 2 and max(more) == 0:
        verdict = "The data support C1: by both measures, most deep layers' images become simpler."
    elif max(simpler) == 0:
        verdict = "The data do not support C1: in no deep layer do the images become simpler."
    else:
        verdict = "The data support C1 in part: the measures or the deep layers disagree."
    return "\n".join([*sentences, verdict])


def judge_c2(comparison: pd.DataFrame) -> str:
    """Judge whether maps lie on neoplastic nuclei more than every baseline does.

    The verdict follows average precision among nuclei, the only measure that a mere nucleus
    detector cannot win.

    Parameters
    ----------
    comparison : DataFrame
        From `compare_with_baselines`.

    Returns
    -------
    str
        One line per measure, and a verdict.
    """
    lines, wins = [], {}
    for measure, rows in comparison.groupby("measure", sort=False):
        maps = rows.groupby(["method", "layer"], sort=False)
        wins[measure] = int((maps["low"].min() > 0).sum())
        hardest = rows.loc[maps["difference"].idxmin(), "baseline"].value_counts().index[0]
        lines.append(
            f"{heat_map_measures[measure].title}: better than every baseline in {wins[measure]} of "
            f"{len(maps)} methods and layers (most often the best baseline: {hardest})"
        )
    won, count = wins["among_nuclei"], len(maps)
    claim = "prefers neoplastic to other nuclei measurably more than all baselines"
    if won == count:
        verdict = f"The data support C2: every map {claim}"
    elif won:
        verdict = f"The data support C2 in part: {won} of {count} maps {claim}"
    else:
        verdict = f"The data do not support C2: no map {claim}"
    return "\n".join([*lines, f"{verdict}. With so few groups this is not conclusive."])


def judge_randomisation(table: pd.DataFrame) -> str:
    """Judge for each method whether its maps depend on the weights.

    A method fails where the maps of the fully random network are more similar to the original ones
    than those of another patch are, and passes where they are less similar (95 % interval of the
    paired difference of rank correlations over groups); otherwise it is undecided.

    Parameters
    ----------
    table : DataFrame
        From `cascading_randomisation`.

    Returns
    -------
    str
        One line per method.
    """
    lines = []
    for method, rows in table.groupby("method", sort=False):
        by_depth = rows.pivot_table(
            index=["patch", "group"], columns="kept_up_to", values="spearman"
        ).reset_index()
        if not {FULLY_RANDOM, OTHER_PATCH} <= set(by_depth):
            lines.append(f"{method}: undecided; the random network's maps are all constant.")
            continue
        by_depth["difference"] = by_depth[FULLY_RANDOM] - by_depth[OTHER_PATCH]
        measures = ["difference", FULLY_RANDOM, OTHER_PATCH]
        means = intervals(by_depth, [], measures).set_index("measure")
        low, high, groups = means.loc["difference", ["low", "high", "groups"]]
        lines.append(
            f"{method}: {_outcome(low, high, 'FAILS', 'passes')}; rank correlation with the fully "
            f"random network's maps {means.loc[FULLY_RANDOM, 'mean']:+.2f}, with those of another "
            f"patch {means.loc[OTHER_PATCH, 'mean']:+.2f}, difference {low:+.2f} to {high:+.2f} "
            f"over {int(groups)} groups"
        )
    return "\n".join(lines)


def judge_c3(
    networks: Mapping[str, Mapping[str, Regression]],
    groups: np.ndarray,
    *,
    layers: Sequence[str] | None = None,
) -> str:
    """Judge whether texture is readable in early layers, and whether finetuning changes where.

    C3 is supported if texture is more readable in early layers than in deep ones and than in a
    random network's, and if finetuning changes deep layers otherwise than early ones.

    Parameters
    ----------
    networks : mapping of str to (mapping of str to Regression)
        Regressions of ``random``, ``pretrained`` and ``finetuned``, by layer.
    groups : array, (N,)
        Group of each patch.
    layers : sequence of str, optional
        Layers that count; by default all.

    Returns
    -------
    str
        One line per comparison of mean held-out R2, with its 95 % interval over groups, and a
        verdict.
    """
    early, deep = early_and_deep(layers or networks["pretrained"])
    lines, outcomes = [], []
    for title, one, other, one_layers, other_layers in (
        ("early minus deep layers, pretrained", "pretrained", "pretrained", early, deep),
        ("pretrained minus random, early layers", "pretrained", "random", early, early),
        ("pretrained minus random, deep layers", "pretrained", "random", deep, deep),
        ("finetuned minus pretrained, early layers", "finetuned", "pretrained", early, early),
        ("finetuned minus pretrained, deep layers", "finetuned", "pretrained", deep, deep),
    ):
        difference, low, high = r2_difference(
            networks[one], networks[other], groups, one_layers, other_layers
        )
        outcomes.append(_outcome(low, high, "more", "less"))
        lines.append(f"{title}: {difference:+.3f} ({low:+.3f} to {high:+.3f}), {outcomes[-1]}")
    readable, learned, learned_deep, early_change, deep_change = outcomes
    comparison = {
        "more": "texture is more readable in early layers than in deep ones",
        "less": "texture is more readable in deep layers than in early ones",
        "undecided": "early and deep layers cannot be told apart",
    }[readable]
    words = {"more": "better than", "less": "worse than", "undecided": "no better than"}
    source = (
        f"{words[learned]} random ones in early layers and {words[learned_deep]} random ones in "
        "deep layers"
    )
    change = {"more": "more", "less": "less", "undecided": "neither more nor less"}
    supported = readable == learned == "more" and "undecided" != deep_change != early_change
    verdict = (
        f"Verdict: {comparison}. ImageNet's features are {source}. After finetuning, early layers "
        f"are {change[early_change]} readable and deep ones {change[deep_change]}. C3 is "
        f"{'supported' if supported else 'not supported, or only in part'}."
    )
    return "\n".join([*lines, verdict])


def judge_relevance(table: pd.DataFrame) -> str:
    """Count the layers and concepts on which the output depends beyond chance.

    Parameters
    ----------
    table : DataFrame
        From `relevance`, of several networks, with a column ``network``.

    Returns
    -------
    str
        One line per network.
    """
    lines = []
    for network, rows in table.groupby("network", sort=False):
        known = rows.dropna(subset="ratio")
        sure = known[(known["q_random"] < 0.05) & (known["q_permuted"] < 0.05)]
        line = f"{network}: {len(sure)} of {len(known)} concepts and layers are relevant (q < 0.05)"
        if len(sure):
            top = sure.loc[sure["br"].abs().idxmax()]
            line += f"; the largest is {top['concept']} at {top['layer']}, Br {top['br']:+.2f}"
        lines.append(line)
    return "\n".join(lines)


def judge_reuse(cka: pd.DataFrame) -> str:
    """Judge whether finetuning keeps early features more than deep ones.

    The intervals of early and deep layers have the mean ends of the layers' own intervals, which is
    wider than necessary.

    Parameters
    ----------
    cka : DataFrame
        From `cka_by_layer`, of pretrained with finetuned and of pretrained with random.

    Returns
    -------
    str
        One paragraph.
    """
    means = {}
    for other in ("finetuned", "random"):
        rows = cka[(cka["one"] == "pretrained") & (cka["other"] == other)].set_index("layer")
        for place, layers in zip(("early", "deep"), early_and_deep(rows.index), strict=True):
            means[other, place] = rows.loc[layers, ["cka", "low", "high"]].mean()
    early, deep = means["finetuned", "early"], means["finetuned", "deep"]
    random_early, random_deep = means["random", "early"]["cka"], means["random", "deep"]["cka"]
    verdict = "not measurably more in early or in deep layers"
    if early["low"] > deep["high"]:
        verdict = "more in early than in deep layers"
    elif deep["low"] > early["high"]:
        verdict = "more in deep than in early layers"
    early_lead, deep_lead = early["cka"] - random_early, deep["cka"] - random_deep
    return (
        f"CKA of pretrained and finetuned: {early['cka']:.2f} in early layers, {deep['cka']:.2f} "
        f"in deep ones; of pretrained and random {random_early:.2f} and {random_deep:.2f}. "
        f"Features are kept {verdict}. The lead over a random network is {early_lead:+.2f} in "
        f"early and {deep_lead:+.2f} in deep layers, larger in "
        f"{'deep' if deep_lead > early_lead else 'early'} ones."
    )


def early_and_deep(layers: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the layers that the claims call early and deep.

    Parameters
    ----------
    layers : iterable of str
        Layers from input to output.

    Returns
    -------
    early, deep : list of str
        The first and the last third, at least one layer each.
    """
    layers = list(layers)
    third = max(1, len(layers) // 3)
    return layers[:third], layers[-third:]


def _outcome(low: float, high: float, above: str, below: str) -> str:
    """Return the word for the side of 0 on which an interval lies."""
    return above if low > 0 else below if high < 0 else "undecided"
