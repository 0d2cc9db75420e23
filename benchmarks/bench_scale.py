"""How do reading slides, features and Grad-CAM scale with workers, and what stops it?

    python benchmarks/bench_scale.py [--backbone densenet121] [--tiles 512]

A slide is written from the sample. Rates of reading its tiles, of features of all layers and of
maps of tiles are measured in this process (with all its threads) and with one and two workers of
one thread each, against a plain forward pass of the same network on tiles that are in memory. What
Dask costs per chunk is measured with a function that only returns arrays as large. A model of the
cost adds up reading, a forward pass and the transfer to the client, which takes all results one
after the other; its error is that for features and maps, and it predicts larger clusters. Nothing
else should run beside.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import tensorflow as tf

from utils import assets, cluster
from utils.cluster import map_chunks
from utils.heatmaps.slides import CHUNK, explain_tiles
from utils.networks import choose_backbone, layer_features, load_finetunings
from utils.networks.model import Model
from utils.patches import SlidePatches, open_slide
from utils.patches.images import read_image
from utils.results import Results, write_rgb_pyramid

RESULTS = Path(__file__).resolve().parent / "results"
SIDE, MICRONS = 150, 0.5
WORKERS = (8, 16, 32, 64, 128, 256)
REPEATS = 3
SLIDES, TILES = 400, 20_000  # of Camelyon, with so many tiles of tissue each


def write_slide(folder):
    image = np.tile(read_image(assets.path("hgsc", "hgsc_nest.jpg")), (2, 2, 1))
    write_rgb_pyramid(folder / "slide.tif", image, MICRONS)
    return open_slide(folder / "slide.tif")


def forward(model, tiles):
    """A plain forward pass of as many tiles that are in memory."""
    images = np.random.default_rng(0).integers(0, 256, (len(tiles), SIDE, SIDE, 3), np.uint8)
    return model.log_odds(images)


def read(tiles):
    return len(tiles[:])


def features(model, tiles):
    return layer_features(model, tiles[:], batch_size=32)


def gradcam(model, tiles):
    return explain_tiles(model, tiles, model.cam_layer, ("gradcam",), 8.0)


def same_size(result, number):
    """What `gradcam` returns of a chunk, without computing it."""
    return result


def rate(function, tiles, shared=()):
    """Tiles per second."""
    chunks = [tiles[i : i + CHUNK // 2] for i in range(0, len(tiles), CHUNK // 2)]
    begun = time.perf_counter()
    jobs = ((str(i), (chunk,)) for i, chunk in enumerate(chunks))
    for _ in map_chunks(function, jobs, shared=shared):
        pass
    return len(tiles) / (time.perf_counter() - begun)


class Tiles:
    """Tiles of a slide that are cut into chunks without being read."""

    def __init__(self, slide, count):
        generator = np.random.default_rng(0)
        self.slide, self.corners = slide, generator.integers(0, 2800, (count, 2))

    def __len__(self):
        return len(self.corners)

    def __getitem__(self, rows):
        return SlidePatches(self.slide, self.corners[rows], SIDE, MICRONS)


def compile_forward(model: Model, images):
    """Make what measures the rate of a plain forward pass in this process, with all its threads."""
    network = model.submodel([], logit=True)
    function = tf.function(lambda batch: network(batch, training=False)["logit"])
    batches = [model.preprocess(images[i : i + 32]) for i in range(0, len(images), 32)]

    def measure_forward():
        begun = time.perf_counter()
        for batch in batches:
            function(tf.constant(batch))
        return len(images) / (time.perf_counter() - begun)

    return measure_forward


def overhead(model, tiles):
    """Seconds that the client needs per chunk, whatever the workers do."""
    result, count = gradcam(model, tiles[:CHUNK]), 50
    for _ in range(2):
        begun = time.perf_counter()
        jobs = ((str(i), (i,)) for i in range(count))
        for _ in map_chunks(same_size, jobs, shared=(result,)):
            pass
    return (time.perf_counter() - begun) / count


def measure(model, tiles):
    """Measure everything in turn, several times, since the speed of a machine drifts."""
    rows = []
    jobs = {
        "forward": (forward, (model,)),
        "read": (read, ()),
        "features": (features, (model,)),
        "gradcam": (gradcam, (model,)),
    }
    measure_forward = compile_forward(model, tiles[:256][:])
    for workers in (0, 1, 2):
        cluster.connect("local" if workers else "", workers=workers or None)
        for repeat in range(REPEATS + 1):  # in the first, workers load, and functions are compiled
            rates = {"plain": measure_forward()}
            rates |= {name: rate(job, tiles, shared) for name, (job, shared) in jobs.items()}
            if workers:
                rates["seconds per chunk"] = overhead(model, tiles)
            if repeat:
                rows.append({"workers": workers, "repeat": repeat, **rates})
                print(rows[-1], flush=True)
    cluster.disconnect()
    table = pd.DataFrame(rows)
    for name in ("features", "gradcam"):
        table[f"{name}/plain"] = table[name] / table["plain"]
        table[f"{name}/forward"] = table[name] / table["forward"]
    return table.drop(columns="repeat").groupby("workers").median().reset_index()


def predict(table):
    """Predict rates from what reading, a forward pass and the client cost per tile.

    The costs are of workers that fill the machine; features and maps are not fitted, so that their
    measured rates say how wrong the model is.
    """
    of = table.set_index("workers")
    transfer = of.loc[2, "seconds per chunk"] / CHUNK  # of the client, one tile after the other
    rows = []
    for workers in (1, 2, *WORKERS):
        full = min(workers, 2)
        reading, network = (full / of.loc[full, name] for name in ("read", "forward"))
        rate = min(workers / (reading + network), 1 / transfer)
        known = workers in of.index
        errors = [
            rate / of.loc[workers, n] - 1 if known else np.nan for n in ("features", "gradcam")
        ]
        hours = SLIDES * TILES / rate / 3600
        limit = "client" if rate == 1 / transfer else "network"
        costs = (1000 * reading, 1000 * network, 1000 * transfer)
        rows.append((workers, *costs, rate, *errors, hours, limit))
    columns = ["workers", "reading_ms", "network_ms", "transfer_ms", "predicted_per_second"]
    columns += ["error_features", "error_gradcam", "hours_for_400_slides", "limited_by"]
    return pd.DataFrame(rows, columns=columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="densenet121")
    parser.add_argument("--tiles", type=int, default=512)
    arguments = parser.parse_args()
    model = load_finetunings(choose_backbone(arguments.backbone))[0].model
    with tempfile.TemporaryDirectory() as folder:
        tiles = Tiles(write_slide(Path(folder)), arguments.tiles)
        table = measure(model, tiles)
    print(
        f"\nTiles per second, medians of {REPEATS}, {os.cpu_count()} cores (plain: a forward pass"
    )
    print("in this process; forward: the same on the workers):")
    print(table.round(3).to_string(index=False))
    predictions = predict(table)
    print("\nPredictions (errors where it was measured):")
    print(predictions.round(3).to_string(index=False))
    results = Results(RESULTS, model.backbone.name)
    results.table(table, "scale.csv")
    results.table(predictions, "scale_predicted.csv")


if __name__ == "__main__":
    main()
