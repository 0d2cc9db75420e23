import numpy as np
import pandas as pd
import pytest

from utils.results.tables import read_table, readable

TABLE = pd.DataFrame(
    {
        "layer": ["b", "b", "a", "a"],
        "one": "x",
        "other": ["y", "z", "y", "z"],
        "value": [0.12345, 1234.5, np.nan, 2.0],
        "low": [0.1, np.nan, np.nan, 1.5],
        "high": [0.2, np.nan, np.nan, 2.5],
        "n": 8,
    }
)


def test_numbers_have_three_digits_and_intervals_stand_behind_them():
    text = readable(TABLE)
    assert list(text.columns) == ["layer", "one", "other", "value", "n"]
    assert text["value"].tolist() == ["0.123 (0.100 to 0.200)", "1234", "–", "2.00 (1.50 to 2.50)"]
    assert text["n"].tolist() == ["8"] * 4


def test_wide_tables_keep_the_order_and_join_names_of_columns():
    text = readable(TABLE, ["layer"], ["one", "other"], "value")
    assert list(text.columns) == ["layer", "x and y", "x and z"]
    assert text["layer"].tolist() == ["b", "a"]
    assert text["x and z"].tolist() == ["1234", "2.00 (1.50 to 2.50)"]


def test_the_same_place_is_averaged_within_the_widest_interval():
    seeds = pd.concat([TABLE, TABLE.assign(value=TABLE["value"] + 1, low=-1.0)])
    text = readable(seeds, ["layer"], ["other"], "value")
    assert text.loc[1, "z"] == "2.50 (-1.00 to 2.50)"


def test_what_is_no_table_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(ValueError, match="a.csv is no table"):
        read_table(tmp_path / "a.csv")
