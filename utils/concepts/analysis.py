"""One analysis of a set of concepts in several networks, from features to tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from utils.concepts.regression import Regression, regress
from utils.concepts.scoring import in_sample_r2, r2_table, relevance

Layers = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Analysis:
    """Tables with columns ``network`` and ``seed``, and regressions by network and layer."""

    in_sample: pd.DataFrame  # from `in_sample_r2`
    held_out: pd.DataFrame  # from `r2_table`
    relevance: pd.DataFrame  # from `relevance`, of the networks with gradients
    regressions: dict[str, dict[str, Regression]]
    known: np.ndarray  # (N,), bool: patches with all measures; the others are left out


def analyse(
    features: Mapping[str, Layers],
    measures: pd.DataFrame,
    groups: np.ndarray,
    *,
    gradients: Mapping[str, Layers] | None = None,
    folds: int = 5,
    repeats: int = 2,
    permutations: int = 200,
    seed: int = 0,
    once: Callable = lambda function, *arguments, **options: function(*arguments, **options),
) -> Analysis:
    """Regress concepts on the features of several networks, and compute their relevance.

    Parameters
    ----------
    features : mapping of str to (mapping of str to array, (N, C))
        Features by network and layer. ``random 2`` is the network ``random`` with the seed 1.
    measures : DataFrame, N rows
        One column per concept. Patches without a value (NaN) are left out.
    groups : array, (N,)
        Group of each patch.
    gradients : mapping of str to (mapping of str to array, (N, C)), optional
        Gradients of the logit, for the networks whose relevance is computed.
    folds, repeats, permutations, seed
        As in `regress`.
    once : callable
        Calls ``once(function, *arguments, **options)``, such as `Run.once`, which keeps results.

    Returns
    -------
    Analysis
        Tables ``in_sample``, ``held_out`` and ``relevance``, ``regressions`` by network and layer,
        and ``known``, the mask of the patches that were used.
    """
    known = measures.notna().all(axis=1).to_numpy()
    measures, groups = measures[known], groups[known]
    features, gradients = (
        {name: {layer: x[known] for layer, x in layers.items()} for name, layers in given.items()}
        for given in (features, gradients or {})
    )
    in_sample = {name: once(in_sample_r2, x, measures) for name, x in features.items()}
    options = {"folds": folds, "repeats": repeats, "permutations": permutations, "seed": seed}
    regressions = {}
    for name, x in features.items():
        options |= {"gradients": gradients.get(name), "description": f"regression, {name}"}
        regressions[name] = once(regress, x, measures, groups, **options)
    held_out = {name: once(r2_table, r, groups, seed=seed) for name, r in regressions.items()}
    relevances = {
        name: once(relevance, regressions[name], slopes, groups, seed=seed)
        for name, slopes in gradients.items()
    }
    tables = (_concatenate(by_network) for by_network in (in_sample, held_out, relevances))
    return Analysis(*tables, regressions, known)


def _concatenate(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Stack tables by name of network, with the columns ``network`` and ``seed``."""
    stacked = [pd.DataFrame(columns=["network", "seed"])] if not tables else []
    for name, table in tables.items():
        network, _, number = name.partition(" ")
        stacked.append(table.assign(network=network, seed=int(number or 1) - 1))
    return pd.concat(stacked)
