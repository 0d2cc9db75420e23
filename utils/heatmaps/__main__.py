"""Explain one image, or a whole slide: heat maps, with their scale and the probability of tumor.

python -m utils.heatmaps image.png --weights model.keras --out overlay.png
python -m utils.heatmaps slide.svs --weights model.keras --out folder --annotations slide.xml
"""

import argparse
import sys
from pathlib import Path

from utils import cluster
from utils.heatmaps.maps import CHOICES, explain
from utils.heatmaps.methods import METHODS
from utils.heatmaps.slides import evaluate_slide, map_slide
from utils.networks import BACKBONES, Model, WeightsUnavailable, choose_backbone, load_model
from utils.patches import Cut, is_slide, open_slide, read_annotations
from utils.patches.images import read_image
from utils.results import Results, figures, save_slide


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m utils.heatmaps", description=__doc__.splitlines()[0]
    )
    about = "RGB image, such as a patch of 224 x 224 pixels, or a whole slide"
    parser.add_argument("image", type=Path, help=about)
    about = "checkpoint, or 'finetuned' for the network that the notebooks made"
    parser.add_argument("--weights", default="finetuned", help=about)
    parser.add_argument("--backbone", default="auto", choices=["auto", *BACKBONES])
    about = "overlay, .png or .jpg; of a slide, a folder"
    parser.add_argument("--out", type=Path, required=True, help=about)
    parser.add_argument("--methods", nargs="+", default=["gradcam", "gradcam++"], choices=METHODS)
    parser.add_argument("--layer", help="analysis layer; by default the last sound one")
    for name, default in (("target", "tumor"), ("placement", "centres")):
        parser.add_argument(f"--{name}", default=default, choices=CHOICES[name])
    parser.add_argument("--colormap", default="jet", help="jet or cividis")
    slides, cut = parser.add_argument_group("of whole slides"), Cut()
    slides.add_argument("--annotations", type=Path, help="tumour: ASAP XML or QuPath GeoJSON")
    about = "micrometres per pixel at level 0 of a slide that does not say"
    slides.add_argument("--slide-microns", type=float, help=about)
    about = "pixel size of the tiles, in micrometres: as in the finetuning"
    slides.add_argument(
        "--microns-per-pixel", type=float, default=cut.microns_per_pixel, help=about
    )
    slides.add_argument("--size", type=int, default=cut.size, help="side of a tile, in pixels")
    about = "share of a tile's side by which neighbours overlap"
    slides.add_argument("--overlap", type=float, default=0.5, help=about)
    about = 'where to compute: "" for here, "local" for one worker per core, or Dask\'s address'
    slides.add_argument("--scheduler", default="", help=about)
    return parser.parse_args()


def main() -> None:
    """Explain an image or a slide, and print what is found."""
    arguments = _arguments()
    try:
        model = load_model(arguments.weights, choose_backbone(arguments.backbone))
        if is_slide(arguments.image):
            _explain_slide(model, arguments)
        else:
            _explain_image(model, arguments)
    except (ValueError, OSError, WeightsUnavailable, cluster.ChunksFailed) as error:
        sys.exit(str(error))


def _explain_slide(model: Model, arguments: argparse.Namespace) -> None:
    cluster.connect(arguments.scheduler)
    slide = open_slide(arguments.image, microns_per_pixel=arguments.slide_microns)
    annotations = arguments.annotations and read_annotations(arguments.annotations)
    cut = Cut(microns_per_pixel=arguments.microns_per_pixel, size=arguments.size)
    path = arguments.out / f"{slide.name}.h5"
    names = ("overlap", "methods", "layer")
    options = {name: getattr(arguments, name) for name in names}
    try:
        maps = map_slide(model, slide, path, cut=cut, **options)
    finally:
        cluster.disconnect()
    figures.use_style()
    options = {"annotated": annotations.tumor() if annotations else None, "title": model.title}
    save_slide(Results(arguments.out), maps, maps.maps(), folder=arguments.out, **options)
    for name, value in evaluate_slide(maps, annotations).items():
        print(f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}")
    print(f"{arguments.out}: figure, TIFF, GeoJSON and HDF5")


def _explain_image(model: Model, arguments: argparse.Namespace) -> None:
    images = read_image(arguments.image)[None]
    names = ("methods", "layer", "target", "placement")
    maps = explain(model, images, **{name: getattr(arguments, name) for name in names})
    probability = model.predict(images)[0]
    overlays = {
        name: figures.overlay(images, heat, colormap=arguments.colormap)
        for name, heat in maps.items()
    }
    title = f"{model.title}: evidence for {arguments.target}"
    panels = [f"{arguments.image.name}, p(tumor) = {probability:.2f}"]
    options = {"colormap": arguments.colormap, "title": title}
    figure = figures.explanations(images, overlays, panels, **options)
    Results(arguments.out.parent).figure(figure, arguments.out.name)
    print(f"{arguments.image}: p(tumor) = {probability:.3f}; {arguments.out}")


if __name__ == "__main__":
    main()
