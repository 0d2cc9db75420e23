"""Make the networks that the notebooks explain: ``python -m utils.networks``."""

import argparse
import contextlib
import sys

from utils.networks.backbones import BACKBONES, choose_backbone, get_backbone
from utils.networks.finetuning import finetuned_model


def main() -> None:
    """Work on networks."""
    parser = argparse.ArgumentParser(prog="python -m utils.networks", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    about = "finetune on the sample if that has not been done, print the backbone"
    finetune = commands.add_parser("finetune", help=about)
    finetune.add_argument("--backbone", default="auto", choices=["auto", *BACKBONES])
    arguments = parser.parse_args()
    # Standard output has the backbone's name alone, for scripts.
    with contextlib.redirect_stdout(sys.stderr):
        backbone = choose_backbone(arguments.backbone)
        _, manifest = finetuned_model(backbone)
        metrics = manifest["metrics"]
        print(
            f"finetuned {get_backbone(backbone).title}: held-out AUC {metrics['auc']:.3f}, "
            f"accuracy {metrics['accuracy']:.3f} on {metrics['patches']} patches of "
            f"{len(manifest['held_out'])} groups"
        )
    print(backbone)


if __name__ == "__main__":
    main()
