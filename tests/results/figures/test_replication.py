import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from utils.concepts.replication import EFFECTS
from utils.results.figures.replication import replication

MEASURES = ["AUC, finetuned network", "R2 of texture, deep layers, finetuned"]


@pytest.fixture
def table():
    """Three sets, the last of one group and without intervals."""
    rows = [
        (name, measure, i / 10 - j / 10, i / 10 - j / 10 - 0.05, i / 10 - j / 10 + 0.15, 8, 80)
        for j, name in enumerate(("sample", "second", "matched"))
        for i, measure in enumerate([*MEASURES, *EFFECTS])
    ]
    columns = ["set", "measure", "value", "low", "high", "groups", "patches"]
    table = pd.DataFrame(rows, columns=columns)
    table.loc[table["set"] == "matched", ["low", "high", "groups"]] = np.nan, np.nan, 1
    return table.astype({"groups": int})


def _points(axes):
    return {bars.get_label(): bars for bars in axes.containers}


def test_every_measure_has_a_row_and_every_set_a_point_in_it(table):
    figure = replication(table, title="t")
    top, bottom = figure.axes
    labels = ["sample (8 groups)", "second (8 groups)", "matched (1 group)"]
    for axes, first, measures in ((top, 0, MEASURES), (bottom, 2, EFFECTS)):
        ticks = [tick.get_text() for tick in axes.get_yticklabels()]
        assert ticks == [name.replace("R2", "R²") for name in measures]
        assert list(_points(axes)) == labels
        rows = set()
        for j, label in enumerate(labels):
            line = _points(axes)[label].lines[0]
            expected = (first + np.arange(len(measures))) / 10 - j / 10
            np.testing.assert_allclose(line.get_xdata(orig=False), expected)
            assert np.round(line.get_ydata(orig=False)).tolist() == list(range(len(measures)))
            rows.add(line.get_ydata(orig=False)[0])
        assert len(rows) == 3  # beside each other
        upper, lower = axes.get_ylim()
        assert upper > lower  # the first measure is on top
    assert figure.get_suptitle() == "t"


def test_intervals_are_bars_where_there_are_any(table):
    top, bottom = replication(table).axes
    for axes, first, count in ((top, 0, 2), (bottom, 2, 4)):
        for label, bars in _points(axes).items():
            segments = bars.lines[2][0].get_segments()
            if label.startswith("matched"):
                assert not any(len(segment) for segment in segments)
                continue
            value = (first + np.arange(count)) / 10 - (0.1 if label.startswith("second") else 0)
            ends = [[x[0, 0], x[1, 0]] for x in segments]
            np.testing.assert_allclose(ends, np.stack([value - 0.05, value + 0.15], axis=1))


def test_sets_differ_in_colour_and_marker(table):
    top, bottom = replication(table).axes
    looks = [
        [(x.lines[0].get_color(), x.lines[0].get_marker()) for x in axes.containers]
        for axes in (top, bottom)
    ]
    assert looks[0] == looks[1]
    assert len({color for color, _ in looks[0]}) == len({mark for _, mark in looks[0]}) == 3


def test_values_below_the_axis_are_written(table):
    is_r2 = table["measure"] == MEASURES[1]
    table.loc[is_r2 & (table["set"] == "second"), "value"] = -3.14
    table.loc[(table["measure"] == EFFECTS[0]) & (table["set"] == "second"), "value"] = -3.14
    top, bottom = replication(table).axes
    assert [text.get_text() for text in top.texts] == ["←-3.1"]
    assert top.get_xlim()[0] == pytest.approx(-0.25)
    assert not bottom.texts and bottom.get_xlim()[0] < -3.14


def test_it_is_at_most_900_pixels_wide(table):
    file = io.BytesIO()
    replication(table, title="a title").savefig(file, dpi=100)
    file.seek(0)
    assert imread(file).shape[1] <= 900
