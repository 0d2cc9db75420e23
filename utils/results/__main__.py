"""Execute the notebooks, write the pages and verify the results: ``python -m utils.results``."""

import argparse
import sys
from pathlib import Path

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
    commands.add_parser("pages", help="write the pages over the results")
    commands.add_parser("verify", help="compare every file with its recorded hash")
    for command in commands.choices.values():
        command.add_argument("--results", type=Path, default=Path("interpretability_results"))
    arguments = parser.parse_args()
    root = arguments.results
    try:
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


if __name__ == "__main__":
    main()
