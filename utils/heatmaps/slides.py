"""Maps over whole slides: probability of tumor, Grad-CAM and concepts, tile by tile.

Tiles overlap, so that what a map says at a tile's border does not depend on where the tile begins.
Chunks of tiles are read and explained here or by workers, and kept, so that a run goes on.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import h5py
import numpy as np
import shapely
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from utils.chunk_files import KEY, append_rows, is_made_from, kept_chunks
from utils.files import whole_file
from utils.heatmaps.methods import METHODS
from utils.heatmaps.placement import place
from utils.networks import Model, positions
from utils.patches import Annotations, Cut, Slide, SlidePatches, Tissue, find_tissue
from utils.patches.cutting import classify, grid
from utils.patches.images import haematoxylin
from utils.patches.lazy import UNREADABLE, read_readable, warn_of_unreadable
from utils.versions import code_sha256

CHUNK = 256  # tiles that are read and explained at once
TOP = 50  # tiles that a slide's summary looks at
_OF_TILE = ("coords", "logit", "haematoxylin")  # beside features and maps
_ROWS = 4096  # of features that are in memory at once


@dataclass(frozen=True)
class SlideMaps:
    """What a network says about the N tiles of a slide."""

    slide: Slide
    tissue: Tissue
    cut: Cut
    layer: str
    corners: np.ndarray  # (N, 2), int64, in pixels of level 0
    logit: np.ndarray  # (N,), float32, log-odds of tumor
    haematoxylin: np.ndarray  # (N,), float32, mean density
    evidence: dict[str, np.ndarray]  # (N, h, w), float32, signed, by method
    microns_per_pixel: float  # of the maps
    path: Path  # HDF5 file, whose features, (N, C), are the means over positions at the layer

    @property
    def step(self) -> float:
        """Pixels of level 0 per pixel of the maps."""
        return self.slide.pixels(1, self.microns_per_pixel)

    @property
    def probability(self) -> np.ndarray:
        """Probability of tumor, (N,)."""
        return tf.sigmoid(self.logit).numpy()

    def over_slide(self, values: np.ndarray) -> np.ndarray:
        """Average values of tiles, (N,) or (N, h, w), where they overlap.

        Returns a map of the slide, (H, W) float32, with NaN where there is no tile.
        """
        shape = tuple(int(np.ceil(length / self.step)) for length in self.slide.size[::-1])
        total, count = np.zeros(shape), np.zeros(shape)
        side = max(
            1, round(self.slide.pixels(self.cut.size, self.cut.microns_per_pixel) / self.step)
        )
        for (x, y), value in zip(
            np.rint(self.corners / self.step).astype(int), values, strict=True
        ):
            window = np.s_[y : y + side, x : x + side]
            height, width = total[window].shape
            total[window] += value[:height, :width] if np.ndim(value) else value
            count[window] += 1
        return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0).astype(
            np.float32
        )

    def maps(self, concepts: Mapping[str, Callable] | None = None) -> dict[str, np.ndarray]:
        """Maps of the slide, (H, W), by name: ``probability``, the methods, and any concepts.

        A concept is a function from features, (N, C), to its values, (N,), such as a regression's.
        """
        by_name = {"probability": self.over_slide(self.probability)}
        by_name |= {name: self.over_slide(maps) for name, maps in self.evidence.items()}
        values = {name: np.empty(len(self.corners), np.float32) for name in concepts or {}}
        with h5py.File(self.path) as file:
            for start in range(0, len(self.corners) if values else 0, _ROWS):
                features = file["features"][start : start + _ROWS]
                for name, of_concept in values.items():
                    of_concept[start : start + _ROWS] = concepts[name](features)
        return by_name | {name: self.over_slide(x) for name, x in values.items()}


def map_slide(
    model: Model,
    slide: Slide,
    path: str | Path,
    *,
    cut: Cut | None = None,
    overlap: float = 0.5,
    methods: Sequence[str] = ("gradcam",),
    layer: str | None = None,
    microns_per_pixel: float = 8.0,
) -> SlideMaps:
    """Explain a slide tile by tile, and keep the result; one forward and backward pass per tile.

    Parameters
    ----------
    model : Model
        A classifier of tumor.
    slide : Slide
    path : str or Path
        HDF5 file in TRIDENT's layout, ``coords`` and ``features``, with ``logit``,
        ``haematoxylin`` and the maps beside them. A file of the same network, slide and options is
        read instead of made again; an unfinished run goes on.
    cut : Cut, optional
        Size and pixel size of the tiles (its stride is replaced), and least share of tissue.
    overlap : float
        Share of a tile's side by which neighbours overlap, at least 0 and under 1.
    methods : sequence of str
        Methods of a layer, see `METHODS`; maps keep their signs and are not scaled.
    layer : str, optional
        Analysis layer, by default the network's last sound one with spatial extent.
    microns_per_pixel : float
        Pixel size of the maps.

    Returns
    -------
    SlideMaps
    """
    cut, path, layer = cut or Cut(), Path(path), layer or model.cam_layer
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; expected 0 to 1, without 1.")
    if unknown := [name for name in methods if getattr(METHODS.get(name), "of", "") != "layer"]:
        expected = ", ".join(name for name, method in METHODS.items() if method.of == "layer")
        raise ValueError(f"methods are {unknown}; expected methods of a layer: {expected}.")
    model.check_spatial([layer])
    tissue = find_tissue(slide, cut.tissue)
    cut = Cut(**{**vars(cut), "stride": max(1, round(cut.size * (1 - overlap)))})
    corners = grid(slide, tissue, cut)
    if not len(corners):
        raise ValueError(f"{slide.path} has no tile of {cut.size} pixels with enough tissue.")
    options = (layer, tuple(methods), microns_per_pixel)
    made_from = (model.identity, slide.identity, cut, options, code_sha256())
    key = hashlib.sha256(repr(made_from).encode()).hexdigest()
    if not is_made_from(path, key):
        tiles = SlidePatches(slide, corners, cut.size, cut.microns_per_pixel)
        _write(model, tiles, path, key, options)
    with h5py.File(path) as file:
        of_tile = [file[name][:] for name in _OF_TILE]
        evidence = {name: file[name][:] for name in methods}
    return SlideMaps(slide, tissue, cut, layer, *of_tile, evidence, microns_per_pixel, path)


def _write(model: Model, tiles: SlidePatches, path: Path, key: str, options: tuple) -> None:
    """Explain all tiles, chunk by chunk, into one file."""
    folder = path.with_name(f".{path.name}.{key[:16]}")

    def arguments(start: int) -> tuple:
        return replace(tiles, corners=tiles.corners[start : start + CHUNK]), *options

    starts = range(0, len(tiles), CHUNK)
    chunks = [(str(start), partial(arguments, start)) for start in starts]
    bar, errors = {"desc": f"tiles of {tiles.slide.name}"}, []
    with whole_file(path) as scratch, h5py.File(scratch, "w") as file:
        for arrays in kept_chunks(folder, explain_tiles, chunks, shared=(model,), **bar):
            errors += arrays.pop(UNREADABLE).tolist()
            append_rows(file, arrays)
        warn_of_unreadable(errors, len(tiles))
        extent = tiles.slide.pixels(tiles.side, tiles.microns_per_pixel)
        about = {"patch_size": tiles.side, "patch_size_level0": round(extent), KEY: key}
        about |= {"level0_width": tiles.slide.size[0], "level0_height": tiles.slide.size[1]}
        about |= {"microns_per_pixel": tiles.microns_per_pixel, "name": tiles.slide.name}
        file.attrs.update(about)
        file["coords"].attrs.update({name: about[name] for name in about if name != KEY})
    shutil.rmtree(folder)


def explain_tiles(
    model: Model, tiles: SlidePatches, layer: str, methods: tuple[str, ...], microns: float
) -> dict[str, np.ndarray]:
    """Compute what a file of maps keeps of the n tiles that can be read: arrays (n, ...)."""
    images, readable, errors = read_readable(tiles)
    kept = {"coords": np.int64(tiles.corners[readable]), UNREADABLE: errors}
    if not len(images):
        return kept
    located = positions(model, layer, images.shape[1:3])
    side = _side(tiles.side * tiles.microns_per_pixel, microns)
    rows: list[dict[str, np.ndarray]] = []
    passes = model.map(_tile_pass, layer, methods, images=images, check=False)
    for evidence, logit, features in passes:
        maps = {name: place(e.numpy(), located, images.shape[1:3]) for name, e in evidence.items()}
        small = {name: np.stack([_shrink(one, side) for one in x]) for name, x in maps.items()}
        rows.append({"logit": logit.numpy(), "features": features.numpy(), **small})
    arrays = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    density = np.float32([haematoxylin(image).mean() for image in images])
    return {**kept, "haematoxylin": density, **arrays}


def _side(extent: float, microns: float) -> int:
    """Pixels of a map that a tile of so many micrometres has."""
    return max(1, round(extent / microns))


def _shrink(heat: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(heat, (side, side), interpolation=cv2.INTER_AREA)


def _tile_pass(model: Model, layer: str, methods: tuple[str, ...]) -> Callable:
    forward_and_backward = model.activations_and_gradients([layer])

    def explain(batch: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        activations, gradients, logit = forward_and_backward(batch)
        pair = activations[layer], gradients[layer]
        maps = {name: METHODS[name].formula(*pair) for name in methods}
        return maps, logit, tf.reduce_mean(pair[0], axis=(1, 2))

    return explain


def evaluate_slide(maps: SlideMaps, annotations: Annotations | None, label: str = "") -> dict:
    """Compare the tiles' probability with annotations, beside a baseline that knows no network.

    Parameters
    ----------
    maps : SlideMaps
    annotations : Annotations or None
        None where the slide is labelled ``normal``, or nothing is known.
    label : str
        ``normal`` if no tile is tumor.

    Returns
    -------
    dict
        Numbers of ``tiles``, and of ``tumor`` ones; ``auc`` of the probability and
        ``auc_haematoxylin`` of the mean density among tiles that are tumor or normal; ``top``, the
        share of tumor tiles among the `TOP` most probable ones, and ``expected``, among all. NaN
        where there are no tiles of both classes.
    """
    result = {"slide": maps.slide.name, "tiles": len(maps.corners), "tumor": np.nan}
    result |= dict.fromkeys(["auc", "auc_haematoxylin", "top", "expected"], np.nan)
    if annotations is None and label != "normal":
        return result
    side = maps.slide.pixels(maps.cut.size, maps.cut.microns_per_pixel)
    labels = classify(maps.corners, side, annotations, label, maps.cut)
    known = labels >= 0
    result["tumor"] = int((labels == 1).sum())
    if len(np.unique(labels[known])) == 2:
        best = np.argsort(-maps.logit[known], kind="stable")[:TOP]
        result["auc"] = roc_auc_score(labels[known], maps.logit[known])
        result["auc_haematoxylin"] = roc_auc_score(labels[known], maps.haematoxylin[known])
        result["top"] = labels[known][best].mean()
        result["expected"] = labels[known].mean()
    return result


def highest_regions(heat: np.ndarray, step: float, *, share: float = 0.05) -> shapely.Geometry:
    """Outline the pixels of a slide's map, ``(H, W)``, with its highest values.

    Parameters
    ----------
    heat : array, (H, W), with NaN where there is no tissue
    step : float
        Pixels of level 0 per pixel of the map.
    share : float
        Share of the tissue that is outlined; pixels that equal its lowest value are, too.

    Returns
    -------
    shapely geometry
        Polygons, with holes, in pixels of level 0.
    """
    threshold = np.nanquantile(heat, 1 - share)
    y, x = np.nonzero(np.nan_to_num(heat, nan=-np.inf) >= threshold)
    squares = shapely.box(x * step, y * step, (x + 1) * step, (y + 1) * step)
    return shapely.union_all(squares)
