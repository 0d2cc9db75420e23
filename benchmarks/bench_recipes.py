"""Which recipe makes images of deep layers as good as Lucid's after 512 steps, at which cost?

    python benchmarks/bench_recipes.py [--backbone densenet121] [--channels 6]

Every recipe renders the same channels of the same pretrained network from two seeds; nothing else
should run beside. An image is as good if it excites its channel as much (under the movements of
Lucid, with other draws than any ascent has had), travels through the network as much like a patch,
and agrees as much with the image of the other seed. Tables go to standard output and, as CSV, with
a picture side by side, to ``benchmarks/results/``. All of it takes half an hour on 2 cores.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import tensorflow as tf

from utils import lucid_bridge
from utils.networks import choose_backbone, layer_features, load_model
from utils.optvis import recipes, transform
from utils.optvis.belief import path_similarity
from utils.optvis.choice import sample_channels
from utils.optvis.crops import Crops
from utils.patches import load_sample, to_uint8
from utils.progress import progress_bar
from utils.results import Results
from utils.results.figures import patchwork, use_style

SIZE = 128
LUCID = "Lucid, 512 steps"
SEEDS = 0, 100_003
LAYERS = {"inceptionv3": ("mixed6e", "mixed7a"), "densenet121": ("transition3", "dense4")}
# By which an image may fall behind Lucid's and still count as equally good.
MARGINS = {"activation": 0.02, "path": 0.02, "agreement": 0.02}
RESULTS = Path(__file__).resolve().parent / "results"


def contestants():
    """Recipes by name."""
    few = Crops(count=1, size=112, sides=(0.95, 0.75))
    return {
        **{f"fast, {steps} steps": recipes.fast(steps) for steps in (64, 128, 256)},
        **{
            f"maco, {steps} steps of 1 crop": recipes.maco(steps=steps, crops=few)
            for steps in (64, 128)
        },
    }


def render(model, lucid_model, layer, numbers, recipe, seed):
    """Images, and the seconds that they took."""
    begun = time.perf_counter()
    if recipe is None:
        options = {"size": SIZE, "steps": 512, "seed": seed, "progress": False}
        one = {"it": lucid_model}
        images = lucid_bridge.render_channels(one, {layer: numbers}, **options)["it"][layer]
    else:
        options = {"size": SIZE, "seed": seed}
        rendered = recipes.render_channels({"it": model}, {layer: numbers}, recipe, **options)
        images = rendered["it"][layer]
    return images, time.perf_counter() - begun


def excitation(model, layer, numbers, images, draws=16):
    """Mean activation of each channel on its image under the standard movements, ``(N,)``."""
    move = transform.compose(transform.standard())
    network = tf.function(model.submodel([layer]))
    total = np.zeros(len(numbers))
    seeds = range(1_000_000, 1_000_000 + len(numbers))  # none that an ascent has used
    for draw in range(1, draws + 1):
        moved = move.apply(tf.constant(images), *move.draw(seeds, draw, draws))
        activations = network(model.preprocess(255 * moved), training=False)[layer].numpy()
        total += [activations[i, ..., number].mean() for i, number in enumerate(numbers)]
    return total / draws


def compare(model, lucid_model, layer, numbers, patches):
    """Measure every recipe at one layer; return the table, and the images of the first seed."""
    names = list(model.backbone.layers)
    path = names[: names.index(layer) + 1]
    on_patches = layer_features(model, patches, layers=path)
    best = on_patches[layer][:, numbers].max(axis=0)
    rows, pictures = [], {}
    for name, recipe in progress_bar([(LUCID, None), *contestants().items()], desc=layer):
        made = [render(model, lucid_model, layer, numbers, recipe, seed) for seed in SEEDS]
        features = [layer_features(model, to_uint8(images), layers=path) for images, _ in made]
        excited = np.mean([excitation(model, layer, numbers, images) for images, _ in made], axis=0)
        similar = [path_similarity(f, on_patches, path).max(axis=1).mean() for f in features]
        agreement = path_similarity(*features, path, on_patches)
        rows.append(
            {
                "layer": layer,
                "recipe": name,
                "seconds": np.mean([seconds for _, seconds in made]),
                "excitation": excited.mean(),
                "of best patch": excited.sum() / best.sum(),
                "path": np.mean(similar),
                "agreement": agreement.diagonal().mean(),
                "agreement of others": agreement[~np.eye(len(numbers), dtype=bool)].mean(),
            }
        )
        pictures[name] = made[0][0]
    table = pd.DataFrame(rows)
    lucid = table.iloc[0]
    table["activation"] = table["excitation"] / lucid["excitation"]
    table["as good"] = True
    for measure, margin in MARGINS.items():
        level = 1 if measure == "activation" else lucid[measure]
        table["as good"] &= table[measure] >= level - margin
    print(table.drop(columns="layer").set_index("recipe").round(3).to_string(), flush=True)
    return table, pictures


def conclude(table):
    """Say which recipe is the cheapest that is as good at every layer, and what the others lack."""
    totals = table.groupby("recipe", sort=False).agg({"seconds": "sum", "as good": "all"})
    good = totals[totals["as good"]].drop(index=LUCID)
    if good.empty:
        return "no recipe is as good as Lucid's 512 steps at every layer"
    name = good["seconds"].idxmin()
    share = totals["seconds"][name] / totals["seconds"][LUCID]
    return f"cheapest recipe that is as good as Lucid's 512 steps: {name}, {share:.2f} of its time"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--channels", type=int, default=6)
    parser.add_argument("--layers", help="by commas; by default two deep ones")
    arguments = parser.parse_args()
    use_style()
    model = load_model("pretrained", choose_backbone(arguments.backbone))
    name = model.backbone.name
    print(f"{model.title}: {model.origin}")
    lucid_model = lucid_bridge.to_lucid(model)
    patches = load_sample().sample(150, seed=0).load().images
    layers = arguments.layers.split(",") if arguments.layers else LAYERS[name]
    channels = sample_channels(
        layer_features(model, patches, layers=layers), arguments.channels, seed=0
    )
    tables, images = [], []
    for layer in layers:
        table, pictures = compare(model, lucid_model, layer, channels[layer], patches)
        tables.append(table)
        images.append(pictures)
    table = pd.concat(tables, ignore_index=True)
    print(conclude(table))
    results = Results(RESULTS, name)
    results.table(table, "optvis_recipes.csv")
    titles = [
        f"{recipe}\n{layer} {number}"
        for layer, pictures in zip(layers, images, strict=True)
        for recipe in pictures
        for number in channels[layer][:6]
    ]
    shown = [picture for pictures in images for batch in pictures.values() for picture in batch[:6]]
    figure = patchwork(shown, titles, columns=12, cell=1.15)
    results.figure(figure, "optvis_recipes.jpg")


if __name__ == "__main__":
    main()
