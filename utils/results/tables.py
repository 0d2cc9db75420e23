"""Tables as notebooks and pages show them, made from the CSV files that runs keep."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from utils.results.record import AGAIN


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file of results."""
    try:
        return pd.read_csv(path)
    except ValueError as error:
        raise ValueError(f"{path} is no table ({error}). {AGAIN}") from error


def readable(
    table: pd.DataFrame, index: Sequence[str] = (), columns: Sequence[str] = (), values: str = ""
) -> pd.DataFrame:
    """Write numbers with three digits, and the columns ``low`` and ``high`` as an interval.

    With `columns` the table becomes wide: rows of `index` by the values of `columns`. What then
    falls on the same place, such as several seeds, is averaged within the widest interval.
    """
    index, columns = list(index), list(columns)
    if columns:
        how = {values: "mean"} | ({"low": "min", "high": "max"} if "low" in table else {})
        table = table.groupby(index + columns, sort=False, dropna=False).agg(how).reset_index()
    text = table.map(_number)
    if "low" in table:
        values = table.columns[table.columns.get_loc("low") - 1]
        interval = " (" + text.pop("low") + " to " + text.pop("high") + ")"
        text[values] += interval.where(table["low"].notna(), "")
    if columns:
        text = text.pivot_table(values, index, columns, aggfunc="first", sort=False, fill_value="–")
        if len(columns) > 1:
            text.columns = [" and ".join(names) for names in text.columns]
        text = text.reset_index()
    return text


def _number(value: Any) -> str:
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:#.3g}" if abs(value) < 999.5 else f"{value:.0f}"
    return str(value)
