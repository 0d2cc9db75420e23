"""Tables of the pages, made from the CSV files of an experiment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from utils.results.record import AGAIN

NETWORKS = ("pretrained", "finetuned", "random")


class Table(NamedTuple):
    """A table of text, made from a CSV of the experiment's folder."""

    title: str
    source: str
    header: list[str]
    rows: list[list[str]]


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file of results."""
    try:
        return pd.read_csv(path)
    except ValueError as error:
        raise ValueError(f"{path} is no table ({error}). {AGAIN}") from error


def _number(value: Any) -> str:
    """Three digits, and all of a whole number."""
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:#.3g}" if abs(value) < 999.5 else f"{value:.0f}"
    return str(value)


def _cells(table: pd.DataFrame, value: str = "mean") -> list[str]:
    """Return each row's value with its interval."""
    return [
        _number(v) if pd.isna(low) else f"{_number(v)} ({_number(low)} to {_number(high)})"
        for v, low, high in zip(table[value], table["low"], table["high"], strict=True)
    ]


def _wide(
    title: str, rows: str, column: str, value: str = "mean", *, by: str = "", prepare=None
) -> Callable[[pd.DataFrame], list[tuple[str, pd.DataFrame]]]:
    """Turn a long table into wide ones, one for each value of `by`, in order of appearance."""

    def make(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
        found = []
        table = prepare(table) if prepare else table
        if "low" in table:
            table = table.assign(**{value: _cells(table, value)})
        for name, part in table.groupby(by, sort=False) if by else [("", table)]:
            wide = part.pivot_table(value, rows.split(), column, aggfunc="first", sort=False)
            if set(wide.columns) <= set(NETWORKS):
                wide = wide[[network for network in NETWORKS if network in wide.columns]]
            found.append((title.format(name), wide.reset_index()))
        return found

    return make


def _whole(title: str) -> Callable[[pd.DataFrame], list[tuple[str, pd.DataFrame]]]:
    return lambda table: [(title, table)]


def _means(*keys: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.groupby(list(keys), sort=False)["r2"].mean().reset_index()


def _changes(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["network"].isin(["finetuned - pretrained", "random - pretrained"])]


def _over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    # As in the figure: the mean over the seeds of a network, with the widest interval.
    how = {"r2": "mean", "low": "min", "high": "max"}
    return table.groupby(["layer", "concept", "network"], sort=False).agg(how).reset_index()


def _starred(table: pd.DataFrame) -> pd.DataFrame:
    sure = table.filter(regex="^q_").max(axis=1) < 0.05
    br = [_number(value) + "*" * star for value, star in zip(table["br"], sure, strict=True)]
    return table.assign(br=br).drop(columns=["low", "high"])


def _named_baselines(table: pd.DataFrame) -> pd.DataFrame:
    return table.fillna({"network": "baseline", "layer": "–"})


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(pair=table["one"] + " and " + table["other"])


_MEAN_R2 = "R², held out, mean of the concepts"
_R2 = [
    _wide(_MEAN_R2, "layer", "network", "r2", prepare=_means("layer", "network")),
    _wide("R², held out, {}", "layer", "network", "r2", by="concept", prepare=_over_seeds),
]
_BR = "Bidirectional relevance, {} (*: q < 0.05)"
_RELEVANCE = [_wide(_BR, "layer", "concept", "br", by="network", prepare=_starred)]
_CURVES = _means("layer", "patches", "network")
_AGAINST = "Finetuned network minus baseline, {}"
_TABLES = {
    "complexity.csv": [_wide("Change of {}", "layer n", "network", by="measure", prepare=_changes)],
    "lucid_and_optvis.csv": [_whole("Activation of the images, by who made them")],
    "localization.csv": [
        _wide("Heat maps and nuclei", "network method layer", "measure", prepare=_named_baselines)
    ],
    "localization_against_baselines.csv": [
        _wide(_AGAINST, "method layer", "baseline", "difference", by="measure")
    ],
    "insertion_deletion_areas.csv": [_wide("Areas under the curves", "method", "measure")],
    "patches.csv": [_whole("Patches that are shown")],
    "texture_r2_held_out.csv": _R2,
    "nuclei_r2_held_out.csv": _R2,
    "relevance.csv": _RELEVANCE,
    "nuclei_relevance.csv": _RELEVANCE,
    "cka.csv": [_wide("Linear CKA", "layer", "pair", "cka", prepare=_pairs)],
    "weight_change.csv": [_whole("Change of the kernels by finetuning")],
    "learning_curves.csv": [
        _wide(f"{_MEAN_R2}, by patches", "layer patches", "network", "r2", prepare=_CURVES)
    ],
}


def tables(folder: Path, names: list[str]) -> list[Table]:
    """Read the tables that a README shows from the CSVs among `names`, files of `folder`."""
    made = []
    for name in [name for name in _TABLES if name in names]:
        table = read_table(folder / name)
        try:
            for title, frame in [pair for make in _TABLES[name] for pair in make(table)]:
                rows = [[_number(value) for value in row] for row in frame.itertuples(index=False)]
                made.append(Table(title, name, [str(column) for column in frame.columns], rows))
        except KeyError as error:
            found = f"{folder / name} has columns {list(table)}; expected {error} too"
            raise ValueError(f"{found}. {AGAIN}") from error
    return made
