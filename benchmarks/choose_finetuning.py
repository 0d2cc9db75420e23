"""Which rate, how many epochs and which patch size to finetune with?

    python benchmarks/choose_finetuning.py --backbone densenet121

Trains every setting on two inner folds of the training patches of the first finetuning, scored on
the groups that these inner folds hold out. The groups that this finetuning holds out are left out
from the start; those that the other finetunings hold out are among its training groups.

Chosen is the largest dose (learning rate times epochs) whose mean balanced accuracy in tumour
images is at most 0.02 below the best setting's, and whose mean p(tumor) of a grey patch is below
the gate's: a few patches decide about less, and a network that is hardly changed would say little
about finetuning. It goes into the backbone's entry in
utils/networks/backbones.py. All settings are written to
benchmarks/results/<backbone>/finetuning_settings.csv, beside the linear head that each starts from.
Settings that are there already are kept, so that an interrupted run resumes.
"""

import argparse
import sys
import time
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

from utils.networks import choose_backbone, evaluate, finetune, get_backbone, load_model
from utils.networks.gate import MOST_GREY
from utils.networks.probe import last_features, linear_probe
from utils.networks.weights import FOLDS
from utils.patches import load_sample
from utils.results import Results

RESULTS = Path(__file__).resolve().parent / "results"
TABLE = "finetuning_settings.csv"
INNER = 2  # folds of three
KEYS = [
    *("learning_rate", "warmup", "epochs", "final_rate", "averaging", "label_smoothing", "blank"),
    "patch_size",
]
SETTINGS = [  # of which the first is the linear head alone
    (0, 0, 0, 0, 0, 0, 0, 150),
    (3e-5, 0.1, 6, 0, 0, 0, 0, 150),
    (6e-5, 0.3, 5, 1, 0.95, 0.05, 0.05, 150),
    (1e-4, 0.1, 3, 0, 0, 0, 0, 150),
    (1e-4, 0.1, 6, 0, 0, 0, 0, 150),
    (1e-4, 0.3, 6, 0, 0, 0, 0, 150),
    (1e-4, 0.3, 5, 1, 0.95, 0.05, 0.05, 150),
    (2e-4, 0.3, 5, 1, 0.95, 0.05, 0.05, 150),
    (3e-4, 0.1, 3, 0, 0, 0, 0, 150),
    (3e-4, 0.3, 6, 0, 0, 0, 0, 150),
]
MARGIN = 0.02  # of balanced accuracy, as in the gate


def inner_folds(patch_size):
    """Folds within the training patches of the first finetuning, whose held-out ones are unseen."""
    training, _ = load_sample(patch_size=patch_size).folds(FOLDS)[0]
    return training, training.folds(FOLDS)[:INNER]


def score(pretrained, features, training, sides, options):
    """Finetune on one side and measure the other."""
    inner, held_out = sides
    seen = np.isin(training.groups, inner.groups)
    model = linear_probe(pretrained, inner, features[seen])
    begun = time.perf_counter()
    if options["epochs"]:
        model, _ = finetune(model, inner, **options)
    seconds = time.perf_counter() - begun
    probability = model.predict(held_out.images)
    measured = evaluate(held_out, probability)
    large = [g["accuracy"] for g in measured["by_group"].values() if g["patches"] >= 10]
    grey = np.full((1, *held_out.images.shape[1:]), 128, np.uint8)
    return {
        "balanced_accuracy": measured["in_tumor_images"]["balanced_accuracy"],
        "auc": measured["in_tumor_images"]["auc"],
        "worst_group": min(large),
        "tumor": float(probability[held_out.labels == 1].mean()),
        "log_loss": log_loss(held_out.labels, probability.astype(float)),
        "grey": float(model.predict(grey)[0]),
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="auto")
    backbone = choose_backbone(parser.parse_args().backbone)
    pretrained = load_model("pretrained", backbone)
    results = Results(RESULTS, backbone)
    path = results.folder / TABLE
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {tuple(row[key] for key in [*KEYS, "fold"]) for row in rows}
    data = {}
    for setting, fold in product(SETTINGS, range(INNER)):
        if (*setting, fold) in done:
            continue
        *_, size = setting
        if size not in data:
            training, folds = inner_folds(size)
            data[size] = training, folds, last_features(pretrained, training)
        training, folds, features = data[size]
        options = dict(zip(KEYS[:-1], setting[:-1], strict=True))
        row = {**options, "patch_size": size, "fold": fold}
        row |= score(pretrained, features, training, folds[fold], options)
        rows.append(row)
        print(pd.DataFrame([row]).round(3).to_string(index=False), flush=True)
        results.table(pd.DataFrame(rows), TABLE)
    means = pd.DataFrame(rows).groupby(KEYS).mean().drop(columns="fold").reset_index()
    best = means["balanced_accuracy"].max()
    enough = means[(means["balanced_accuracy"] >= best - MARGIN) & (means["grey"] < MOST_GREY)]
    means["chosen"] = means.index == (enough["learning_rate"] * enough["epochs"]).idxmax()
    print(f"{get_backbone(backbone).title}, means over {INNER} inner folds:")
    print(means.to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
