"""Cut patches from whole slides, or find nuclei: ``python -m utils.patches slides | nuclei``."""

import argparse
from pathlib import Path

from utils import cluster
from utils.patches import (
    PatchSet,
    compare_nuclei,
    find_nuclei,
    find_tissue,
    load_patches,
    load_slides,
    read_annotations,
    write_hdf5,
)
from utils.patches.cutting import NORMAL, Cut
from utils.patches.slide_table import PATIENT, slide_table
from utils.patches.tissue import TissueOptions
from utils.progress import progress_bar
from utils.results import Results, figures


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m utils.patches", description=__doc__)
    commands = parser.add_subparsers(required=True)
    about = "cut annotated slides into patches, in the HDF5 layout that the notebooks read"
    _add_slide_options(commands.add_parser("slides", help=about))
    nuclei = commands.add_parser(
        "nuclei", help="find nuclei by their haematoxylin, and compare them with annotated ones"
    )
    nuclei.add_argument("--patches", default="sample", help="sample, slides, folder or HDF5 file")
    nuclei.add_argument("--diameter", type=float, help="of a nucleus, in pixels; by default 10 µm")
    nuclei.set_defaults(run=find)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError, cluster.ChunksFailed) as error:
        parser.exit(1, f"{error}\n")


def _add_slide_options(parser: argparse.ArgumentParser) -> None:
    add, cut = parser.add_argument, Cut()
    add("slides", help="slide, folder of slides, or CSV table with the column slide")
    about = "ASAP XML or QuPath GeoJSON, or their folder; by default beside the slides"
    add("--annotations", help=about)
    add("--out", type=Path, required=True, help="HDF5 file; patches are appended if it exists")
    add("--microns-per-pixel", type=float, default=cut.microns_per_pixel, help="of the patches")
    add("--size", type=int, default=cut.size, help="side of a patch, in pixels")
    add("--stride", type=int, help="step of the grid, in pixels; by default the size")
    about = "micrometres per pixel at level 0 of slides that do not say"
    add("--slide-microns", type=float, help=about)
    add("--min-tissue", type=float, default=cut.min_tissue, help="least share of tissue")
    add("--tumor-share", type=float, default=cut.tumor_share, help="least share of tumour")
    add("--tumor-names", nargs="+", default=list(cut.tumor_names), help="classes that are tumour")
    about = "side of the squares that are groups where only one patient has tumor, in micrometres"
    add("--region", type=float, default=cut.region, help=about)
    about = "normal patches lie elsewhere than tumour, or in areas of other classes"
    add("--normal", default=cut.normal, choices=NORMAL, help=about)
    tissue = TissueOptions()
    about = "of the slide's median, below which tissue counts as out of focus; 0 keeps all"
    add("--min-sharpness", type=float, default=tissue.min_sharpness, help=about)
    add("--per-class", type=int, help="at most so many patches per class, drawn evenly")
    add("--seed", type=int, default=0, help="seed of the draw")
    about = 'where to read slides: "" for here, "local" for one worker per core, or Dask\'s address'
    add("--scheduler", default="", help=about)
    parser.set_defaults(run=cut_slides)


def cut_slides(options: argparse.Namespace) -> None:
    """Cut patches from slides and write them to a file."""
    cluster.connect(options.scheduler)
    try:
        names = ("annotations", "slide_microns", "per_class", "seed", "microns_per_pixel", "size")
        names += ("stride", "min_tissue", "tumor_share", "region", "normal")
        given = {name: getattr(options, name) for name in names}
        given["tumor_names"] = tuple(options.tumor_names)
        given["tissue"] = TissueOptions(min_sharpness=options.min_sharpness)
        patches = load_slides(options.slides, **given)
        print(patches)
        write_hdf5(patches, options.out)
        folder = options.out.with_name(f"{options.out.stem}_slides")
        table = slide_table(options.slides, options.annotations, PATIENT, options.slide_microns)
        annotated = {row.slide.stem: row.annotations for row in table.itertuples()}
        _show_slides(patches, annotated, options, Results(folder.parent, folder.name))
        print(f"{options.out}: give it as PATCHES to the notebooks. {folder} shows the slides.")
    finally:
        cluster.disconnect()


def _show_slides(
    patches: PatchSet, annotated: dict, options: argparse.Namespace, results: Results
) -> None:
    """Draw every slide with its tissue, annotations (files by slide) and patches."""
    slides = {source.slide.name: source for source in patches.images.sources}
    for name, source in progress_bar(slides.items(), desc="figures", unit="slide"):
        slide, rows = source.slide, patches.sources == name
        tissue = find_tissue(slide, TissueOptions(min_sharpness=options.min_sharpness))
        tumor = annotated[name] and read_annotations(annotated[name]).tumor(options.tumor_names)
        figure = figures.slide_patches(
            tissue.overview,
            tissue.mask,
            patches.positions[rows],
            patches.labels[rows],
            side=slide.pixels(source.side, source.microns_per_pixel),
            annotated=tumor,
            step=tissue.step,
            microns=slide.microns_per_pixel,
            title=f"{name}: {tissue.pen:.1%} pen, {tissue.blurred:.1%} of tissue out of focus",
        )
        results.figure(figure, f"{name}.jpg")


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
