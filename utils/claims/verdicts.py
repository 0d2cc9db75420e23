"""What the numbers say about the claims, in words."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from utils.concepts import Regression, r2_difference
from utils.heatmaps import MEASURES as heat_map_measures
from utils.heatmaps import NOTHING, OTHER_PATCH
from utils.optvis.complexity import MEASURES as complexity_measures
from utils.statistics import intervals


def judge_c1(complexity: pd.DataFrame) -> str:
    """Say whether finetuning makes the images of deep layers simpler, as claim C1 has it.

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
    """Say in words whether maps lie on neoplastic nuclei more than every baseline does.

    The verdict is that of average precision among nuclei, the one measure that a detector of nuclei
    of any kind cannot win.

    Parameters
    ----------
    comparison : DataFrame
        From `compare_with_baselines`.

    Returns
    -------
    str
        One line per measure, and a verdict.
    """
    lines, beaten = [], {}
    for measure, part in comparison.groupby("measure", sort=False):
        maps = part.groupby(["method", "layer"], sort=False)
        beaten[measure] = int((maps["low"].min() > 0).sum())
        hardest = part.loc[maps["difference"].idxmin(), "baseline"].value_counts().index[0]
        name = heat_map_measures[measure].title
        lines.append(
            f"{name}: better than every baseline in {beaten[measure]} of {len(maps)} methods and "
            f"layers (most often the best baseline: {hardest})"
        )
    won, count = beaten["among_nuclei"], len(maps)
    claim = "prefers neoplastic to other nuclei measurably more than all baselines"
    if won == count:
        verdict = f"The data support C2: every map {claim}"
    elif won:
        verdict = f"The data support C2 in part: {won} of {count} maps {claim}"
    else:
        verdict = f"The data do not support C2: no map {claim}"
    return "\n".join([*lines, f"{verdict}. With so few groups this is not conclusive."])


def judge_randomisation(table: pd.DataFrame) -> str:
    """Say of each method whether its maps depend on the weights.

    A method fails where the maps of the wholly random network are still more like the original
    ones than those of another patch are, and passes where they are less so (95 % interval of the
    paired difference of rank correlations over groups). In between it is undecided.

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
    for method, part in table.groupby("method", sort=False):
        by_depth = part.pivot_table(
            index=["patch", "group"], columns="kept_up_to", values="spearman"
        ).reset_index()
        if not {NOTHING, OTHER_PATCH} <= set(by_depth):
            lines.append(f"{method}: undecided; the random network's maps are all constant.")
            continue
        by_depth["difference"] = by_depth[NOTHING] - by_depth[OTHER_PATCH]
        found = intervals(by_depth, [], ["difference", NOTHING, OTHER_PATCH]).set_index("measure")
        low, high = found.loc["difference", ["low", "high"]]
        word = _outcome(low, high, "FAILS", "passes")
        lines.append(
            f"{method}: {word}; rank correlation with the wholly random network's maps "
            f"{found.loc[NOTHING, 'mean']:+.2f}, with those of another patch "
            f"{found.loc[OTHER_PATCH, 'mean']:+.2f}, difference {low:+.2f} to {high:+.2f} over "
            f"{found.loc['difference', 'groups']} groups"
        )
    return "\n".join(lines)


def judge_c3(
    networks: Mapping[str, Mapping[str, Regression]],
    groups: np.ndarray,
    *,
    layers: Sequence[str] | None = None,
) -> str:
    """Say whether texture is readable in early layers, and whether finetuning changes where.

    Parameters
    ----------
    networks : mapping of str to (mapping of str to Regression)
        Regressions of ``random``, ``pretrained`` and ``finetuned``, by layer.
    groups : array, (N,)
    layers : sequence of str, optional
        Those that count; by default all.

    Returns
    -------
    str
        One line per comparison of mean held-out R2, with its 95 % interval over groups, and a
        verdict.
        Early and deep are the first and the last third of the layers. C3 is supported if texture is
        more readable in early layers than in deep ones and than in a random network's, and if
        finetuning changes deep layers otherwise than early ones.
    """
    early, deep = early_and_deep(layers or networks["pretrained"])
    lines, found = [], {}
    for title, one, other, here, there in (
        ("early minus deep layers, pretrained", "pretrained", "pretrained", early, deep),
        ("pretrained minus random, early layers", "pretrained", "random", early, early),
        ("pretrained minus random, deep layers", "pretrained", "random", deep, deep),
        ("finetuned minus pretrained, early layers", "finetuned", "pretrained", early, early),
        ("finetuned minus pretrained, deep layers", "finetuned", "pretrained", deep, deep),
    ):
        difference, low, high = r2_difference(networks[one], networks[other], groups, here, there)
        found[title] = _outcome(low, high, "more", "less")
        lines.append(f"{title}: {difference:+.3f} ({low:+.3f} to {high:+.3f}), {found[title]}")
    readable, learned, learned_deep, early_change, deep_change = found.values()
    where = {
        "more": "texture is read more easily in early layers than in deep ones",
        "less": "texture is read more easily in deep layers than in early ones",
        "undecided": "early and deep layers cannot be told apart",
    }[readable]
    source = " and ".join(
        {
            "more": f"better than random ones in {place} layers",
            "less": f"worse than random ones in {place} layers",
            "undecided": f"no better than random ones in {place} layers",
        }[outcome]
        for place, outcome in (("early", learned), ("deep", learned_deep))
    )
    change = {"more": "more", "less": "less", "undecided": "neither more nor less"}
    supported = readable == learned == "more" and "undecided" != deep_change != early_change
    return "\n".join(
        [
            *lines,
            f"Verdict: {where}. ImageNet's features are {source}. After finetuning, early layers "
            f"are {change[early_change]} readable and deep ones {change[deep_change]}. C3 is "
            f"{'supported' if supported else 'not supported, or only in part'}.",
        ]
    )


def judge_relevance(table: pd.DataFrame) -> str:
    """Say in how many layers and concepts the output depends on a concept beyond chance.

    Parameters
    ----------
    table : DataFrame
        `relevance` of several networks, with a column ``network``.

    Returns
    -------
    str
        One line per network.
    """
    lines = []
    for network, part in table.groupby("network", sort=False):
        known = part.dropna(subset="ratio")
        sure = known[(known["q_random"] < 0.05) & (known["q_permuted"] < 0.05)]
        line = f"{network}: {len(sure)} of {len(known)} concepts and layers are relevant (q < 0.05)"
        if len(sure):
            top = sure.loc[sure["br"].abs().idxmax()]
            line += f"; the largest is {top['concept']} at {top['layer']}, Br {top['br']:+.2f}"
        lines.append(line)
    return "\n".join(lines)


def judge_reuse(cka: pd.DataFrame) -> str:
    """Say whether finetuning keeps early features more than deep ones.

    Parameters
    ----------
    cka : DataFrame
        From `cka_by_layer`, with the pairs pretrained and finetuned, pretrained and random. The
        intervals of early and deep layers are the mean ends of the layers' own, which is wider
        than needed.

    Returns
    -------
    str
        One paragraph.
    """
    means = {}
    for other in ("finetuned", "random"):
        part = cka[(cka["one"] == "pretrained") & (cka["other"] == other)]
        for place, layers in zip(("early", "deep"), early_and_deep(part["layer"]), strict=True):
            rows = part[part["layer"].isin(layers)]
            means[other, place] = rows[["cka", "low", "high"]].mean()
    early, deep = means["finetuned", "early"], means["finetuned", "deep"]
    verdict = (
        "more in early than in deep layers"
        if early["low"] > deep["high"]
        else "more in deep than in early layers"
        if deep["low"] > early["high"]
        else "not measurably more in early or in deep layers"
    )
    lead = {
        place: means["finetuned", place]["cka"] - means["random", place]["cka"]
        for place in ("early", "deep")
    }
    where = "deep" if lead["deep"] > lead["early"] else "early"
    return (
        f"CKA of pretrained and finetuned: {early['cka']:.2f} in early layers, {deep['cka']:.2f} "
        f"in deep ones; of pretrained and random {means['random', 'early']['cka']:.2f} and "
        f"{means['random', 'deep']['cka']:.2f}. Features are kept {verdict}. The lead over a "
        f"random network is {lead['early']:+.2f} in early and {lead['deep']:+.2f} in "
        f"deep layers, larger in {where} ones."
    )


def early_and_deep(layers: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split off what the claims call early and deep layers.

    Parameters
    ----------
    layers : iterable of str
        From input to output.

    Returns
    -------
    early, deep : list of str
        The first and the last third, at least one layer each.
    """
    layers = list(layers)
    third = max(1, len(layers) // 3)
    return layers[:third], layers[-third:]


def _outcome(low: float, high: float, above: str, below: str) -> str:
    """Say on which side of 0 an interval lies."""
    return above if low > 0 else below if high < 0 else "undecided"
