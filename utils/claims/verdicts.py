"""What the numbers say about the claims, in words."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from utils.concepts.analysis import r2_difference
from utils.concepts.regression import Regression
from utils.heatmaps import compare_with_rivals
from utils.heatmaps.sanity import FULLY_RANDOM, ORDERS, OTHER_PATCH
from utils.optvis.complexity import MEASURES as complexity_measures
from utils.statistics import LEAST_GROUPS, intervals, sign_flip_p

# Title of each difference of R2 for C3, and the network and layers on either side.
C3_DIFFERENCES = {
    "early minus deep layers, pretrained": (("pretrained", "early"), ("pretrained", "deep")),
    "pretrained minus random, early layers": (("pretrained", "early"), ("random", "early")),
    "pretrained minus random, deep layers": (("pretrained", "deep"), ("random", "deep")),
    "finetuned minus pretrained, early layers": (("finetuned", "early"), ("pretrained", "early")),
    "finetuned minus pretrained, deep layers": (("finetuned", "deep"), ("pretrained", "deep")),
}
C2_RIVALS = ("pretrained network", "shuffled network")
LEAST_LEAD = 0.05  # of an AUROC over a rival's, that would matter
EARLY_OR_DEEP = {
    "more": "texture is more readable in early layers than in deep ones",
    "less": "texture is more readable in deep layers than in early ones",
    "undecided": "early and deep layers cannot be told apart",
}
THAN_RANDOM = {"more": "better than", "less": "worse than", "undecided": "no better than"}
READABLE = {"more": "more", "less": "less", "undecided": "neither more nor less"}
KEPT = {
    "more": "more in early than in deep layers",
    "less": "more in deep than in early layers",
    "undecided": "not measurably more in early or in deep layers",
}


def judge_c1(complexity: pd.DataFrame) -> str:
    """Judge whether finetuning makes the images of deep layers simpler, as claim C1 states.

    Parameters
    ----------
    complexity : DataFrame, from `complexity_by_layer`

    Returns
    -------
    str
    """
    deep = early_and_deep(complexity["layer"].unique())[1]
    rows = complexity[complexity["layer"].isin(deep)].set_index(["measure", "network"]).sort_index()
    sentences, simpler, more = [], [], []
    for measure, title in complexity_measures.items():
        change = rows.loc[(measure, "finetuned - pretrained")]
        to_random = rows.loc[(measure, "random - pretrained"), "mean"].mean()
        lower, higher = (change["high"] < 0).sum(), (change["low"] > 0).sum()
        simpler.append(lower)
        more.append(higher)
        sentences.append(
            f"{title}: lower after finetuning in {lower} of the {len(deep)} deep layers, higher in "
            f"{higher}, undecided in {len(deep) - lower - higher} (mean change "
            f"{change['mean'].mean():+.3f}; to random {to_random:+.3f})."
        )
    if min(simpler) > len(deep) / 2 and max(more) == 0:
        verdict = "The data support C1: by both measures, most deep layers' images become simpler."
    elif max(simpler) == 0:
        verdict = "The data do not support C1: in no deep layer do the images become simpler."
    else:
        verdict = "The data support C1 in part: the measures or the deep layers disagree."
    return "\n".join([*sentences, verdict])


def judge_c2(differences: pd.DataFrame, layer: str) -> str:
    """Judge whether Grad-CAM ranks neoplastic nuclei higher than it does without finetuning.

    C2 is supported if the AUROC within groups beats both rivals, the pretrained and the shuffled
    network under linear heads, by exact one-sided sign flips at 5 % / 3 and by 0.05 on average; it
    is refuted if the upper end of the difference from one of them stays under 0.05.

    Parameters
    ----------
    differences : DataFrame, from `differences_from_rivals`
    layer : str
        Layer of the overlays.

    Returns
    -------
    str
    """
    of_map = differences[(differences["method"] == "gradcam") & (differences["layer"] == layer)]
    comparison = compare_with_rivals(of_map).set_index("rival")
    lines = [
        f"{rival}: AUROC {row.rival_auroc:.2f}, Grad-CAM at {layer} {row.auroc:.2f}, difference "
        f"{row.difference:+.2f} ({row.low:+.2f} to {row.high:+.2f}), {row.won} groups won and "
        f"{row.lost} lost"
        for rival, row in comparison.iterrows()
    ]
    if missing := [rival for rival in C2_RIVALS if rival not in comparison.index]:
        return "\n".join([*lines, f"C2: no verdict (no {' and no '.join(missing)})."])
    if (count := comparison["groups"].min()) < LEAST_GROUPS:
        reason = f"{count} groups with enough nuclei; expected at least {LEAST_GROUPS}"
        return "\n".join([*lines, f"C2: no verdict ({reason})."])
    rivals = comparison.loc[list(C2_RIVALS)]
    by_rival = of_map.groupby("rival")["difference"]
    p_values = {rival: sign_flip_p(by_rival.get_group(rival)) for rival in C2_RIVALS}
    won = max(p_values.values()) < 0.05 / 3 and rivals["difference"].min() >= LEAST_LEAD
    lost = rivals["high"].min() < LEAST_LEAD
    outcome = "supported" if won else "refuted" if lost else "undecided"
    tests = ", ".join(f"p = {p:.4f} against the {rival}" for rival, p in p_values.items())
    return "\n".join([*lines, f"C2: {outcome} in one nest of one tumour ({tests})."])


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


def judge_c3(
    networks: Mapping[str, Mapping[str, Regression]], *, layers: Sequence[str] | None = None
) -> str:
    """Judge whether texture is readable in early layers, and whether finetuning changes where.

    C3 is supported if texture is more readable in early layers than in deep ones and than in a
    random network's, and if finetuning changes deep layers otherwise than early ones.

    Parameters
    ----------
    networks : mapping of str to (mapping of str to Regression)
        Regressions of ``random``, ``pretrained`` and ``finetuned``, by layer.
    layers : sequence of str, optional
        Layers that count; by default all.

    Returns
    -------
    str
    """
    early, deep = early_and_deep(layers or networks["pretrained"])
    sides = {
        (network, place): [by_layer[layer] for layer in names]
        for network, by_layer in networks.items()
        for place, names in (("early", early), ("deep", deep))
    }
    lines, outcomes = [], []
    for title, (one, other) in C3_DIFFERENCES.items():
        difference, low, high = r2_difference(sides[one], sides[other])
        outcomes.append(_outcome(low, high))
        lines.append(f"{title}: {difference:+.3f} ({low:+.3f} to {high:+.3f}), {outcomes[-1]}")
    readable, learned, learned_deep, early_change, deep_change = outcomes
    supported = readable == learned == "more" and "undecided" != deep_change != early_change
    verdict = (
        f"Verdict: {EARLY_OR_DEEP[readable]}. ImageNet's features are {THAN_RANDOM[learned]} "
        f"random ones in early layers and {THAN_RANDOM[learned_deep]} random ones in deep layers. "
        f"After finetuning, early layers are {READABLE[early_change]} readable and deep ones "
        f"{READABLE[deep_change]}. C3 is "
        f"{'supported' if supported else 'not supported, or only in part'}."
    )
    return "\n".join([*lines, verdict])


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


def early_and_deep(layers: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the first and the last third of the layers, at least one layer each."""
    layers = list(layers)
    third = max(1, len(layers) // 3)
    return layers[:third], layers[-third:]


def _outcome(low: float, high: float, above: str = "more", below: str = "less") -> str:
    """Return the word for the side of 0 on which an interval lies."""
    return above if low > 0 else below if high < 0 else "undecided"
