"""Finetune networks, test whether they are finetuned, and say how they were made."""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from utils import cluster
from utils.networks.backbones import BACKBONES, choose_backbone, get_backbone
from utils.networks.embeddings import store_features
from utils.networks.finetuned import finetuned_models, load_finetunings
from utils.networks.finetuning import finetune
from utils.networks.gate import changes, gate, passed
from utils.networks.weights import MODELS, finetuned_paths, load_finetuned, load_model
from utils.patches import load_patches


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m utils.networks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    about = "finetune what is not there yet; standard output has the backbone's name alone"
    make = commands.add_parser("finetune", help=about)
    make.add_argument("--folds", type=int, default=1, help="folds to hold out, 1 to 3")
    make.add_argument("--seeds", type=int, default=1, help="networks per fold")
    make.add_argument("--seed", type=int, default=0, help="first seed")
    make.add_argument("--epochs", type=int, help="by default the backbone's")
    make.add_argument("--learning-rate", type=float, help="by default the backbone's")
    make.add_argument("--batch-size", type=int, default=finetune.__kwdefaults__["batch_size"])
    about = "stop after so many epochs without a lower loss on a quarter of the training groups"
    make.add_argument("--patience", type=int, help=about)
    check = commands.add_parser("gate", help="test whether a network is finetuned")
    about = "path, or 'finetuned' for the first network of the sample"
    check.add_argument("--checkpoint", default="finetuned", help=about)
    info = commands.add_parser("info", help="say how the networks in a folder were made")
    about = "store the features of all layers in a file, which load_features reads"
    features = commands.add_parser("features", help=about)
    about = "path, random, pretrained, shuffled or finetuned"
    features.add_argument("--weights", default="pretrained", help=about)
    features.add_argument("--layers", nargs="+", help="by default all analysis layers")
    features.add_argument("--out", type=Path, required=True, help="HDF5 file")
    about = 'where to compute: "" for here, "local" for one worker per core, or Dask\'s address'
    features.add_argument("--scheduler", default="", help=about)
    for command in (make, check, features):
        about = "sample, slides, a folder of class folders, or an HDF5 file"
        command.add_argument("--patches", default="sample", help=about)
        command.add_argument("--backbone", default="auto", choices=["auto", *BACKBONES])
    for command in (make, info):
        command.add_argument("--out", type=Path, default=MODELS, help="folder of the networks")
    return parser.parse_args()


def _finetune(arguments: argparse.Namespace) -> None:
    names = ("folds", "seeds", "seed", "epochs", "learning_rate", "batch_size", "patience")
    given = {name: getattr(arguments, name) for name in names}
    options = {name: value for name, value in given.items() if value is not None}
    with contextlib.redirect_stdout(sys.stderr):
        backbone = choose_backbone(arguments.backbone)
        patches = load_patches(arguments.patches)
        for one in finetuned_models(backbone, patches, folder=arguments.out, **options):
            _show(one.manifest)
    print(backbone)


def _gate(arguments: argparse.Namespace) -> None:
    backbone = choose_backbone(arguments.backbone)
    path = arguments.checkpoint
    if path == "finetuned":
        path = finetuned_paths(backbone)[0]
    (only,) = load_finetunings(backbone, [path])
    patches = load_patches(arguments.patches)
    head = only.manifest.get("baselines", {}).get("pretrained features")
    table = gate(only.model, patches.select(only.unseen(patches)), head=head)
    _show_gate(table)
    if not only.manifest:
        print("Held-out groups unknown: these may be patches that the network was trained on.")
    sys.exit(not passed(table))


def _features(arguments: argparse.Namespace) -> None:
    cluster.connect(arguments.scheduler)
    try:
        model = load_model(arguments.weights, choose_backbone(arguments.backbone))
        patches = load_patches(arguments.patches)
        store_features(model, patches, arguments.out, layers=arguments.layers)
        print(f"{arguments.out}: features of {len(patches)} patches, {model.title}.")
    finally:
        cluster.disconnect()


def _info(arguments: argparse.Namespace) -> None:
    manifests = sorted(arguments.out.glob("*.json"))
    if not manifests:
        sys.exit(f"{arguments.out} has no finetuned network: make one with the command finetune.")
    for path in manifests:
        manifest = json.loads(path.read_text())
        _show(manifest)
        backbone = get_backbone(manifest["backbone"])
        moved = changes(load_model("pretrained", backbone), load_finetuned(backbone, path))
        print(
            f"The head's kernel has {moved['head']:.2f} times a random draw's deviation; "
            f"finetuning moved the convolutions' kernels by {moved['kernels']:.1%} (median)."
        )


def _show(manifest: Mapping) -> None:
    """Print how a network was made, how it compares with the baselines, and the gate."""
    options, data = dict(manifest["options"]), manifest["data"]
    fold, seed = options.pop("fold"), options.pop("seed")
    print(
        f"\nfinetuned {get_backbone(manifest['backbone']).title}, fold {fold}, seed {seed}: "
        f"{data['patches']} patches of {data['source']}, {len(manifest['held_out'])} of "
        f"{len(manifest['held_out']) + len(manifest['trained_on'])} groups held out, "
        f"{manifest['seconds']:.0f} s"
    )
    print(", ".join(f"{name} {value}" for name, value in options.items()))
    scores = {"finetuned": manifest["metrics"], **manifest["baselines"]}
    rows = {name: measured["in_tumor_images"] for name, measured in scores.items()}
    print("Held-out patches in tumour images:")
    print(pd.DataFrame.from_dict(rows, orient="index").to_string())
    _show_gate(pd.DataFrame(manifest["gate"]))


def _show_gate(table: pd.DataFrame) -> None:
    print(table.to_string(index=False, na_rep="unknown"))
    print("The gate is passed." if passed(table) else "The network is hardly finetuned.")


if __name__ == "__main__":
    parsed = _arguments()
    run = {"finetune": _finetune, "gate": _gate, "info": _info, "features": _features}
    run[parsed.command](parsed)
