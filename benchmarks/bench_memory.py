"""How much memory do data take that do not fit: features, a slide's maps, regressions?

    python benchmarks/bench_memory.py features [--workers 2] [--backbone densenet121 --share 0.05]
    python benchmarks/bench_memory.py slide [--workers 2] [--backbone densenet121 --share 0.05]
    python benchmarks/bench_memory.py regression

`features`: 200,000 patches of noise, in a file, to features in a file. `slide`: a slide of 40,000 x
40,000 pixels of 0.25 micrometres, all of it tissue, to maps of overlapping tiles. Both by a tiny
network, or by a share of the data with a real one, whose time is printed for all of it.
`regression`: concept vectors of 20,000 patches at a layer of 768 channels. Prints the peak memory
of this process and of its workers, and what of it was taken before by libraries and data.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import pandas as pd
import tifffile
from bench_out_of_core import make_file

from utils import assets, cluster
from utils.cluster import map_chunks
from utils.concepts import regress
from utils.heatmaps import map_slide
from utils.networks import Backbone, Model, load_model, store_features
from utils.networks.checkpoints import add_head
from utils.patches import Cut, find_tissue, load_patches, open_slide
from utils.patches.cutting import grid
from utils.patches.images import read_image

PATCHES, SIDE, MICRONS, TILE = 200_000, 40_000, 0.25, 256


def peak_in_gigabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux


def peak_of_process():
    time.sleep(0.05)  # so that every worker takes some
    return os.getpid(), peak_in_gigabytes()


def tiny_application(include_top=False, weights=None, input_shape=None):
    inputs = keras.Input(input_shape or (None, None, 3))
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu", name="first")(inputs)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu", name="second")(x)
    return keras.Model(inputs, x)


def network(name):
    if name != "tiny":
        model = load_model("pretrained", name)
    else:
        backbone = Backbone(
            name="tiny",
            title="tiny network",
            application=tiny_application,
            mean=(127.5, 127.5, 127.5),
            std=(127.5, 127.5, 127.5),
            minimum_size=16,
            default_size=96,
            layers={"first": "first", "second": "second"},
            visualised_layers=("second",),
            cam_layer="second",
            pretrained=lambda: ("", ""),
        )
        keras.utils.set_random_seed(0)
        model = Model(backbone.build(), backbone, "random", "seed 0", "tiny")
    head = add_head(model.network)
    return Model(head, model.backbone, model.weights, model.origin, model.sha256)


def write_slide(path, side):
    """Write a slide whose tiles, at all levels, are a few of the sample's, encoded once."""
    image = read_image(assets.path("hgsc", "hgsc_nest.jpg"))
    corners = [(y, x) for y in range(0, 1024, TILE) for x in range(0, 1024, TILE)]
    tiles = [image[y : y + TILE, x : x + TILE].tobytes() for y, x in corners]
    encoded = [zlib.compress(tile, 1) for tile in tiles]
    options = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "rgb", "dtype": "uint8"}
    per_cm = 2 * (10_000 / MICRONS,)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in (1, 4, 16):
            length = side // level
            data = (encoded[i % len(encoded)] for i in range((-(-length // TILE)) ** 2))
            if level == 1:
                options |= {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
            else:
                options |= {"subfiletype": 1, "resolution": None}
            file.write(data, shape=(length, length, 3), metadata=None, **options)
    return open_slide(path)


def features(model, folder, share):
    patches = load_patches(make_file(folder, int(share * PATCHES)))
    store_features(model, patches, folder / "features.h5")
    return len(patches), f"patches of {PATCHES}"


def slide(model, folder, share):
    """Map a slide, or for a share of its tiles a smaller one."""
    whole = write_slide(folder / "slide.tif", int(SIDE * share**0.5))
    cut = Cut(stride=75, min_tissue=0)
    print(f"{len(grid(whole, find_tissue(whole, cut.tissue), cut))} tiles", flush=True)
    maps = map_slide(model, whole, folder / "maps.h5", cut=cut)
    heat = maps.maps({"concept": lambda x: x.mean(axis=1)})
    return len(maps.corners), f"tiles of a slide of {whole.size}, maps {heat['probability'].shape}"


def regression():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20_000, 768)).astype(np.float32)
    measures = pd.DataFrame(x[:, :6] + generator.normal(size=(len(x), 6)))
    groups, before = np.arange(len(x)) % 50, peak_in_gigabytes()
    options = {"repeats": 2, "permutations": 5}
    regress({"layer": x}, measures, groups, gradients={"layer": x}, **options)
    return f"{len(x)} patches, {x.shape[1]} features, 6 concepts, {options}", before


def streamed(arguments):
    model, before = network(arguments.backbone), peak_in_gigabytes()
    cluster.connect("local" if arguments.workers else "", workers=arguments.workers or None)
    run = {"features": features, "slide": slide}[arguments.what]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        count, what = run(model, Path(folder), arguments.share)
        seconds = time.perf_counter() - begun
    if arguments.workers:
        chunks = ((str(number), ()) for number in range(20 * arguments.workers))
        peaks = dict(result for _, result in map_chunks(peak_of_process, chunks))
        print("peaks of workers:", ", ".join(f"{peak:.2f} GB" for peak in peaks.values()))
    cluster.disconnect()
    print(f"all of it would take {seconds / arguments.share / 60:.0f} minutes")
    return f"{model.backbone.title}, {count} {what}", before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["features", "slide", "regression"])
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--share", type=float, default=1.0, help="of the patches or the tiles")
    parser.add_argument("--workers", type=int, default=0, help="0 computes in this process")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    what, before = regression() if arguments.what == "regression" else streamed(arguments)
    print(
        f"{what}: {time.perf_counter() - begun:.0f} s, peak {peak_in_gigabytes():.2f} GB, of which "
        f"{before:.2f} GB before"
    )


if __name__ == "__main__":
    main()
