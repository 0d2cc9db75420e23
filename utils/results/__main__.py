"""Execute the notebooks, write pages, verify results, render all channels of a network."""

import argparse
import sys
from pathlib import Path

from utils import cluster
from utils.results.all_channels import render_all_channels
from utils.results.execution import NOTEBOOKS, execute_all
from utils.results.pages import write
from utils.results.record import problems, records


def main() -> None:
    """Work on a folder of results."""
    parser = argparse.ArgumentParser(prog="python -m utils.results", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    execute = commands.add_parser("execute", help="execute the notebooks")
    execute.add_argument("--backbone", required=True, help="inceptionv3 or densenet121")
    about = "finetuned networks: one, or study (3 folds by 3 seeds)"
    execute.add_argument("--finetunings", default="one", choices=["one", "study"], help=about)
    execute.add_argument("--replication", default="", help="second set of patches for the RCVs")
    execute.add_argument("--force", action="store_true", help="recompute, ignoring kept steps")
    execute.add_argument("notebooks", nargs="*", default=NOTEBOOKS, metavar="notebook")
    pages = commands.add_parser("pages", help="write the pages over the results")
    verify = commands.add_parser("verify", help="compare every file with its recorded hash")
    _add_channel_options(commands)
    for command in (execute, pages, verify):
        command.add_argument("--results", type=Path, default=Path("interpretability_results"))
    arguments = parser.parse_args()
    try:
        if arguments.command == "channels":
            _render_channels(arguments)
            return
        root = arguments.results
        if arguments.command == "execute":
            options = {"finetunings": arguments.finetunings, "force": arguments.force}
            options["replication"] = arguments.replication
            execute_all(arguments.notebooks, arguments.backbone, root, **options)
        elif arguments.command == "pages":
            index, *readmes = write(root)
            print(f"{index} and {len(readmes)} READMEs")
        else:
            lines = problems(root)
            counts = [len(record.files) for _, record in records(root)]
            summary = f"{len(counts)} experiments, {sum(counts)} files, {len(lines)} problems"
            print(*lines, summary, sep="\n")
            sys.exit(bool(lines))
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


def _add_channel_options(commands: argparse._SubParsersAction) -> None:
    about = "render every channel of every layer into one folder with pages; may take hours"
    channels = commands.add_parser("channels", help=about)
    add = channels.add_argument
    add(
        "--out", type=Path, required=True, help="folder of this job, which goes on if it was killed"
    )
    add("--backbone", default="auto", help="auto, inceptionv3, densenet121 or resnet50")
    about = "pretrained, finetuned, random, shuffled or paths of checkpoints"
    add("--weights", nargs="+", default=["pretrained"], help=about)
    add("--patches", default="sample", help="patches whose activations the images have to beat")
    add("--layers", nargs="+", help="by default all analysis layers")
    add("--recipe", default="fast", help="fast, lucid or paper")
    add("--steps", type=int, default=64, help="of the recipes fast and lucid")
    add("--size", type=int, default=128, help="of the images, in pixels")
    add("--seed", type=int, default=0)
    about = 'where to compute: "" for here, "local" for one worker per core, or Dask\'s address'
    add("--scheduler", default="", help=about)


def _render_channels(arguments: argparse.Namespace) -> None:
    # Only here, since the pages need no TensorFlow.
    from utils.networks import choose_backbone, load_model
    from utils.patches import load_patches

    cluster.connect(arguments.scheduler)
    try:
        backbone = choose_backbone(arguments.backbone)
        models = {Path(w).stem: load_model(w, backbone) for w in arguments.weights}
        patches = load_patches(arguments.patches, per_class=250, seed=arguments.seed)
        names = ("layers", "recipe", "steps", "size", "seed")
        options = {name: getattr(arguments, name) for name in names}
        table = render_all_channels(models, patches.images[:], arguments.out, **options)
        beating = (table["image"] > table["patches_max"]).sum()
        print(f"{arguments.out / 'index.html'}: {len(table)} images, {beating} beat every patch.")
    finally:
        cluster.disconnect()


if __name__ == "__main__":
    main()
