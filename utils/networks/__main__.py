"""Make the networks that the notebooks explain: ``python -m utils.networks finetune``."""

import argparse
import contextlib
import sys

from utils.networks.backbones import BACKBONES, choose_backbone, get_backbone
from utils.networks.finetuning import finetuned_model

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m utils.networks", description=__doc__)
    about = "finetune on the sample if that has not been done, and print the backbone"
    parser.add_argument("command", choices=["finetune"], help=about)
    parser.add_argument("--backbone", default="auto", choices=["auto", *BACKBONES])
    arguments = parser.parse_args()
    # Standard output has the backbone's name alone, for scripts.
    with contextlib.redirect_stdout(sys.stderr):
        backbone = choose_backbone(arguments.backbone)
        _, manifest = finetuned_model(backbone)
        scores = "held-out AUC {auc:.3f}, accuracy {accuracy:.3f} on {patches} patches of"
        summary = scores.format(**manifest["metrics"]) + f" {len(manifest['held_out'])} groups"
        print(f"finetuned {get_backbone(backbone).title}: {summary}")
    print(backbone)
