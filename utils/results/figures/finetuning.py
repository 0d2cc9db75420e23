"""Figure of how networks were finetuned."""

import pandas as pd
from matplotlib.figure import Figure

from utils.results.figures import style

_BASELINE = {"color": "#7f7f7f", "marker": "s", "linestyle": "none"}


def finetuning_summary(
    epochs: pd.DataFrame, scores: pd.DataFrame, calibration: pd.DataFrame, *, title: str = ""
) -> Figure:
    """Draw learning curves, balanced accuracy beside baselines, and calibration.

    All tables have a column ``finetuning``, one line or point each. The epochs have ``epoch``,
    ``loss`` and ``val_loss``; the scores ``classifier``, ``finetuned`` or a baseline, and
    ``balanced_accuracy``; the calibration ``predicted`` and ``observed``.
    """
    figure, (grid,) = style.panels(1, 3, (10, 3.6), title)
    curves, accuracy, probabilities = grid
    finetuned = style.NETWORK_STYLES["finetuned"]
    for _, rows in epochs.groupby("finetuning", sort=False):
        curves.plot(rows["epoch"] + 1, rows["loss"], **finetuned | {"linestyle": ":"})
        curves.plot(rows["epoch"] + 1, rows["val_loss"], **finetuned)
    curves.set(xlabel="epoch (dotted: training)", ylabel="loss, nats", title="learning curves")
    curves.set_ylim(bottom=0)
    curves.xaxis.get_major_locator().set_params(integer=True)
    names = scores["classifier"].unique()
    for place, name in enumerate(names):
        values = scores.loc[scores["classifier"] == name, "balanced_accuracy"]
        look = finetuned if name == "finetuned" else _BASELINE
        accuracy.plot([place] * len(values), values, **look | {"linestyle": "none"}, markersize=6)
    accuracy.axhline(0.5, color="#000000", linewidth=0.8, linestyle=":")
    accuracy.set(ylim=(0.4, 1.02), xlim=(-0.5, len(names) - 0.5))
    accuracy.set_ylabel("balanced accuracy (dotted: chance)")
    accuracy.set_title("in tumour images, held out")
    style.set_ticks(accuracy, names, rotation=30, ha="right")
    for _, rows in calibration.groupby("finetuning", sort=False):
        probabilities.plot(rows["predicted"], rows["observed"], **finetuned)
    probabilities.plot([0, 1], [0, 1], color="#000000", linewidth=0.8, linestyle=":")
    probabilities.set(xlabel="p(tumor), mean of a bin", ylabel="share of tumor patches")
    probabilities.set_title("calibration, held out")
    return figure
