"""What is kept of a whole slide: a figure, maps that QuPath opens, and the highest regions."""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
import shapely
import tifffile

from utils.files import whole_file
from utils.patches import Cut, open_slide, read_annotations
from utils.results import figures
from utils.results.run import Results, Run

if TYPE_CHECKING:  # the pages, which draw nothing, need no TensorFlow
    from utils.heatmaps.slides import SlideMaps
    from utils.networks import Finetuning

_TILE = 256


def save_slide(
    results: Results,
    maps: "SlideMaps",
    by_name: Mapping[str, np.ndarray],
    *,
    folder: str | Path,
    annotated: shapely.Geometry | None = None,
    title: str = "",
) -> None:
    """Show the maps of a slide, and save figure, TIFF and GeoJSON.

    The figure is a result of the run. To a folder go ``<slide>.tif``, a pyramid with the values of
    one map per channel; ``<slide>_probability.tif``, a pyramid of colours, which OpenSlide opens;
    and ``<slide>_<map>.geojson``, the twentieth of the tissue where it is highest.

    Parameters
    ----------
    results : Results
    maps : SlideMaps
    by_name : mapping of str to array, (H, W), as from `SlideMaps.maps`
    folder : str or Path
    annotated : shapely geometry, optional
        Annotated tumour, in pixels of level 0.
    title : str
    """
    # Only here, since nothing else of this module needs TensorFlow.
    from utils.heatmaps.slides import highest_regions

    slide, tissue, folder = maps.slide, maps.tissue, Path(folder)
    figure = figures.slide_maps(
        tissue.overview,
        tissue.mask,
        by_name,
        annotated=annotated,
        step=tissue.step,
        microns=slide.microns_per_pixel,
        map_step=maps.step,
        title=title,
    )
    alt = f"slide {slide.name} with its tissue, and maps of {', '.join(by_name)}"
    results.show(figure, f"{slide.name}.jpg", alt, slide=slide.name, network="finetuned")
    write_pyramid(folder / f"{slide.name}.tif", by_name, maps.microns_per_pixel)
    pixels = figures.colour_probability(by_name["probability"])
    write_rgb_pyramid(folder / f"{slide.name}_probability.tif", pixels, maps.microns_per_pixel)
    for name, heat in by_name.items():
        regions = highest_regions(heat, maps.step)
        short = name.split(" (")[0].replace(" ", "_")
        write_geojson(folder / f"{slide.name}_{short}.geojson", regions, f"high {name}")


def show_slides(
    run: Run,
    finetunings: Sequence["Finetuning"],
    slides: pd.DataFrame,
    *,
    layer: str,
    concepts: Mapping[str, Callable] | None = None,
    **cut: Any,
) -> None:
    """Map slides by networks that have not seen their patients; show and save the maps.

    What QuPath opens, and the values of the tiles, go to ``slides``, below the main results.

    Parameters
    ----------
    run : Run
    finetunings : sequence of Finetuning
    slides : DataFrame, from `list_slides`
    layer : str
    concepts : mapping of str to callable, optional
        From `concept_readouts`: concepts that are mapped, too.
    **cut
        Options of `Cut`, such as ``size``.
    """
    from utils.heatmaps.slides import evaluate_slide, map_slide

    folder, rows = run.root.joinpath(*run.main.experiment, "slides"), []
    results = run.results(*run.main.experiment, "slides")
    for row in slides.to_dict("records"):
        slide = open_slide(row["slide"], microns_per_pixel=row["microns_per_pixel"])
        unseen = [f for f in finetunings if row["patient"] not in f.manifest.get("trained_on", ())]
        one = (unseen or list(finetunings))[0]
        # By name only: slides may show what was finetuned on, under the name of another patient.
        known = unseen and one.manifest
        status = "not a patient of the training" if known else "perhaps seen in training"
        path = folder / f"{slide.name}.h5"
        maps = map_slide(one.model, slide, path, cut=Cut(**cut), layer=layer)
        annotations = row["annotations"] and read_annotations(row["annotations"])
        scores = evaluate_slide(maps, annotations, row["label"] or "")
        rows.append({**scores, "patient": row["patient"], "status": status})
        title = f"{slide.name}, {one.model.title}, {one.title}: {status}"
        about = {"annotated": annotations.tumor() if annotations else None, "title": title}
        save_slide(results, maps, maps.maps(concepts), folder=folder, **about)
    alt = "AUC of the tiles' probability by slide, and share of tumour in the most probable ones"
    results.show(pd.DataFrame(rows), "slides.csv", alt)


def write_pyramid(
    path: str | Path, maps: Mapping[str, np.ndarray], microns_per_pixel: float
) -> None:
    """Write maps of a slide as a pyramidal, tiled OME-TIFF, one channel each.

    Parameters
    ----------
    path : str or Path
    maps : mapping of str to array, (H, W), float32
        By name of the channel.
    microns_per_pixel : float
        Pixel size of the maps, kept as physical size and as resolution.
    """
    levels = [np.stack([*maps.values()]).astype(np.float32)]
    while max(levels[-1].shape[1:]) > 2 * _TILE:
        height, width = levels[-1].shape[1:]
        size = (-(-width // 2), -(-height // 2))
        smaller = [cv2.resize(m, size, interpolation=cv2.INTER_NEAREST) for m in levels[-1]]
        levels.append(np.stack(smaller))
    size = {f"PhysicalSize{axis}": microns_per_pixel for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    unique = uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(levels[0].tobytes()).hexdigest())
    metadata = {"axes": "CYX", "Channel": {"Name": [*maps]}, "UUID": unique.urn, **size, **units}
    options = {"tile": (_TILE, _TILE), "compression": "zlib", "photometric": "minisblack"}
    options["resolutionunit"] = "CENTIMETER"
    with whole_file(path) as scratch, tifffile.TiffWriter(scratch, ome=True) as file:
        for level, pixels in enumerate(levels):
            resolution = 2 * (10_000 / (microns_per_pixel * 2**level),)
            if level == 0:
                options |= {"subifds": len(levels) - 1, "metadata": metadata}
            else:
                options |= {"subifds": 0, "metadata": None, "subfiletype": 1}
            file.write(pixels, resolution=resolution, **options)


def write_rgb_pyramid(path: str | Path, pixels: np.ndarray, microns_per_pixel: float) -> None:
    """Write pixels as a pyramidal, tiled TIFF that OpenSlide opens, as it opens slides.

    OpenSlide reads neither numbers that are not 8 bit nor the sub-images of an OME-TIFF.

    Parameters
    ----------
    path : str or Path
    pixels : array, (H, W, 3), uint8, RGB
    microns_per_pixel : float
        Pixel size, kept as resolution.
    """
    options = {"tile": (_TILE, _TILE), "compression": "zlib", "photometric": "rgb"}
    per_cm = 2 * (10_000 / microns_per_pixel,)
    with whole_file(path) as scratch, tifffile.TiffWriter(scratch) as file:
        resolution = {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
        file.write(pixels, metadata=None, **options, **resolution)
        while max(pixels.shape[:2]) > 2 * _TILE:
            size = (pixels.shape[1] // 2, pixels.shape[0] // 2)
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            file.write(pixels, subfiletype=1, metadata=None, **options)


def write_geojson(path: str | Path, area: shapely.Geometry, name: str) -> None:
    """Write an area, in pixels of level 0, as annotations that QuPath reads.

    Parameters
    ----------
    path : str or Path
    area : shapely geometry
        Polygons, one annotation each.
    name : str
        Class of the annotations.
    """
    properties = {"objectType": "annotation", "classification": {"name": name}}
    features = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(polygon), "properties": properties}
        for polygon in shapely.get_parts(area)
        if not polygon.is_empty
    ]
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
