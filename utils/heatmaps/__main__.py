"""Explain one image: both heat maps beside it, with their scale and the probability of tumor.

python -m utils.heatmaps image.png --weights model.keras --out overlay.png
"""

import argparse
import sys
from pathlib import Path

from utils.heatmaps.maps import CHOICES, explain
from utils.heatmaps.methods import METHODS
from utils.networks import BACKBONES, WeightsUnavailable, choose_backbone, load_model
from utils.patches.images import read_image
from utils.results import Results, figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m utils.heatmaps", description=__doc__.splitlines()[0]
    )
    parser.add_argument("image", type=Path, help="RGB image, such as a patch of 224 x 224 pixels")
    about = "checkpoint, or 'finetuned' for the network that the notebooks made"
    parser.add_argument("--weights", default="finetuned", help=about)
    parser.add_argument("--backbone", default="auto", choices=["auto", *BACKBONES])
    parser.add_argument("--out", type=Path, required=True, help="overlay, .png or .jpg")
    parser.add_argument("--methods", nargs="+", default=["gradcam", "gradcam++"], choices=METHODS)
    parser.add_argument("--layer", help="analysis layer; by default the last sound one")
    for name, default in (("target", "tumor"), ("placement", "centres")):
        parser.add_argument(f"--{name}", default=default, choices=CHOICES[name])
    parser.add_argument("--colormap", default="jet", help="jet or cividis")
    return parser.parse_args()


def main() -> None:
    """Draw the overlays of an image, and print its probability of tumor."""
    arguments = _arguments()
    try:
        images = read_image(arguments.image)[None]
        model = load_model(arguments.weights, choose_backbone(arguments.backbone))
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
    except (ValueError, OSError, WeightsUnavailable) as error:
        sys.exit(str(error))
    print(f"{arguments.image}: p(tumor) = {probability:.3f}; {arguments.out}")


if __name__ == "__main__":
    main()
