"""Look at patches: ``python -m utils.patches nuclei``."""

import argparse

from utils.patches import compare_nuclei, find_nuclei, load_patches


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m utils.patches", description=__doc__)
    commands = parser.add_subparsers(required=True)
    nuclei = commands.add_parser(
        "nuclei", help="find nuclei by their haematoxylin, and compare them with annotated ones"
    )
    nuclei.add_argument("--patches", default="sample", help="sample, folder or HDF5 file")
    nuclei.add_argument("--diameter", type=float, default=20, help="of a nucleus, in pixels")
    nuclei.set_defaults(run=find)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


def find(options: argparse.Namespace) -> None:
    """Print how many nuclei are found, and how well, where they are annotated."""
    whole = {"patch_size": 375, "stride": 375, "tumor_share": 1e-9}
    patches = load_patches(options.patches, sample_options=whole)
    detected = find_nuclei(patches, diameter=options.diameter)
    print(patches)
    if patches.nuclei is None:
        counts = detected.nuclei.max(axis=(1, 2))
        print(f"{counts.sum()} nuclei found, {counts.mean():.1f} per patch; none are annotated.")
    else:
        print(compare_nuclei(detected, patches).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
