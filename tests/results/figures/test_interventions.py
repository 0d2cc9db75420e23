"""What the figure of interventions draws: the data in its artists."""

import numpy as np
import pandas as pd
import pytest

from utils.results.figures.interventions import interventions

LAYERS = ["a", "b", "c"]


@pytest.fixture
def table():
    """Three interventions, one of which the software does not know."""
    rows = [
        (name, "contrast", layer, i + j / 10, i + j / 10 - 0.3, i + j / 10 + 0.2, -i - 0.5)
        for i, name in enumerate(("blurred", "larger nuclei", "rotated"))
        for j, layer in enumerate(LAYERS)
    ]
    columns = ["intervention", "concept", "layer", "predicted", "predicted_low", "predicted_high"]
    table = pd.DataFrame(rows, columns=[*columns, "actual"])
    ends = {"actual_low": table["actual"] - 0.1, "actual_high": table["actual"] + 0.4}
    return table.assign(**ends, n=30, groups=4)


def test_predictions_and_the_actual_change(table):
    figure = interventions(table, title="t")
    assert figure.get_suptitle() == "t" and figure.get_size_inches()[0] == 9  # 900 pixels
    titles = ["blurred, σ = 1.5", "nuclei enlarged × 1.25", "rotated"]
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(figure.axes) == 4 and len(panels) == 3
    for i, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        assert axes.get_title() == f"{title}\n(concept: contrast; 30 patches of 4 groups)"
        (bars,) = axes.containers
        np.testing.assert_allclose(bars.lines[0].get_xdata(orig=False), range(3))
        np.testing.assert_allclose(bars.lines[0].get_ydata(orig=False), i + np.arange(3) / 10)
        segments = [segment[:, 1] for segment in bars.lines[2][0].get_segments()]
        ends = i + np.arange(3)[:, None] / 10 + [-0.3, 0.2]
        np.testing.assert_allclose(segments, ends)
        lines = {line.get_label(): line.get_ydata() for line in axes.lines}
        np.testing.assert_allclose(lines["actual"], -i - 0.5)
        (band,) = axes.patches
        bottom, height = band.get_y(), band.get_height()
        assert (bottom, height) == pytest.approx((-i - 0.6, 0.5))
        assert [tick.get_text() for tick in axes.get_xticklabels()] == LAYERS
    labels = [axes.get_ylabel() for axes in panels]
    assert labels == ["change of the log-odds of tumor", "", "change of the log-odds of tumor"]
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {
        "actual",
        "predicted by the concept's vector",
    }


def test_one_intervention_on_a_single_group_has_no_intervals(table):
    ends = [f"{side}_{end}" for side in ("predicted", "actual") for end in ("low", "high")]
    alone = table[table["intervention"] == "blurred"].assign(**dict.fromkeys(ends, np.nan))
    (axes,) = interventions(alone).axes
    assert not axes.patches
    np.testing.assert_allclose(axes.containers[0].lines[0].get_ydata(orig=False), [0, 0.1, 0.2])
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["actual"], -0.5)
