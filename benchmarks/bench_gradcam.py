"""How fast are heat maps, against a plain forward pass, tf-keras-vis and Xplique?

    python benchmarks/bench_gradcam.py [--backbone inceptionv3] [--parts speed,input,nuclei,memory]

``speed``: Grad-CAM and Grad-CAM++, what placing them costs, and all maps of a late and an early
layer; ``input``: SmoothGrad and integrated gradients; ``nuclei``: seconds per patch to fill nuclei,
to predict without each, and for Sharp-LIME.

All explain the same patches at 299 px with the same finetuned network, one after the other in one
process; nothing else should run beside. tf-keras-vis comes with requirements-dev.txt. Xplique 2.0.2
asks for older versions than ours, but works beside them:

    pip install --no-deps xplique==2.0.2 einops tensorflow-probability==0.25.0 tf-keras dm-tree \\
        cloudpickle decorator

Where a peer is not installed, a line says so. The streaming part takes as long as `--streamed`
forward passes: ten to fifteen minutes for 10,000 patches on 2 cores.
"""

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from utils import heatmaps
from utils.heatmaps import DeadMaps, StretchedMaps, explain, stream
from utils.heatmaps.nuclei import without
from utils.networks import choose_backbone, load_finetunings
from utils.patches import load_sample
from utils.results import Results

SIZE = 299
BATCH = 16
METHODS = ("gradcam", "gradcam++")
OF_LAYER = tuple(name for name, method in heatmaps.METHODS.items() if method.of == "layer")
RESULTS = Path(__file__).resolve().parent / "results"


def measured(contestants, count, reference="utils.heatmaps, both maps", repeats=5):
    """Seconds of the first run and patches per second of later ones, which take turns (median)."""
    times = {name: [] for name in contestants}
    for _ in tqdm(range(repeats + 1), desc="rates", unit="turn"):
        for name, run in contestants.items():
            begun = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begun)
    table = pd.DataFrame(
        {
            "what": times.keys(),
            "first_run_seconds": [seconds[0] for seconds in times.values()],
            "patches_per_second": [count / np.median(seconds[1:]) for seconds in times.values()],
        }
    )
    rate = table.set_index("what").loc[reference, "patches_per_second"]
    return table.assign(utils_heatmaps_by_this=rate / table["patches_per_second"])


def forward(model, images):
    return lambda: model.predict(images, batch_size=BATCH)


def ours(model, images, methods, **options):
    return lambda: explain(model, images, methods=methods, batch_size=BATCH, **options)


def backward(model, images, layer):
    """A forward pass, and a backward pass to a layer, without any map."""

    def run():
        for _, gradients, _ in model.map(_gradients, layer, images=images, batch_size=BATCH):
            gradients[layer].numpy()

    return run


def _gradients(model, layer):
    return model.activations_and_gradients([layer])


def _logits(model):
    return keras.Model(model.network.inputs[0], keras.ops.expand_dims(model.logit, 1))


def tf_keras_vis(model, images):
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus

    layer = model.layer(model.backbone.cam_layer).name
    visualisers = [kind(_logits(model), clone=False) for kind in (Gradcam, GradcamPlusPlus)]

    def run():
        for visualiser in visualisers:
            for start in range(0, len(images), BATCH):
                visualiser(
                    lambda output: output[:, 0],
                    model.preprocess(images[start : start + BATCH]),
                    penultimate_layer=layer,
                    seek_penultimate_conv_layer=False,
                )

    return run


def xplique(model, images):
    from xplique.attributions import GradCAM, GradCAMPP

    layer = model.layer(model.backbone.cam_layer).name
    explainers = [
        kind(_logits(model), conv_layer=layer, batch_size=BATCH) for kind in (GradCAM, GradCAMPP)
    ]
    ones = np.ones((len(images), 1), np.float32)

    def run():
        for explainer in explainers:
            explainer(model.preprocess(images), ones)

    return run


def speed(model, images):
    contestants = {
        "plain forward pass": forward(model, images),
        "utils.heatmaps, both maps": ours(model, images, METHODS),
        "utils.heatmaps, both maps, stretched": ours(model, images, METHODS, placement="stretched"),
        "utils.heatmaps, all maps of the layer": ours(model, images, OF_LAYER),
    }
    early = model.backbone.cam_layers[0]
    contestants[f"backward pass to {early}"] = backward(model, images, early)
    contestants[f"utils.heatmaps, all maps at {early}"] = ours(model, images, OF_LAYER, layer=early)

    def one_pass_per_method():
        for method in METHODS:
            ours(model, images, [method])()

    contestants["utils.heatmaps, one pass per method"] = one_pass_per_method
    for name, peer in (("tf-keras-vis, both maps", tf_keras_vis), ("Xplique, both maps", xplique)):
        try:
            contestants[name] = peer(model, images)
        except ImportError as error:
            print(f"{name} is not timed: {error}")
    return measured(contestants, len(images))


def smooth_gradients(model, images):
    from tf_keras_vis.saliency import Saliency

    visualiser = Saliency(_logits(model), clone=False)

    def run():
        for start in range(0, len(images), BATCH):
            visualiser(
                lambda output: output[:, 0],
                model.preprocess(images[start : start + BATCH]),
                smooth_samples=heatmaps.METHODS["smoothgrad"].passes,
                smooth_noise=0.15,
            )

    return run


def integrated_gradients(model, images):
    from xplique.attributions import IntegratedGradients

    steps = heatmaps.METHODS["integrated"].passes
    explainer = IntegratedGradients(_logits(model), steps=steps, batch_size=BATCH)
    ones = np.ones((len(images), 1), np.float32)
    return lambda: explainer(model.preprocess(images), ones)


def input_methods(model, images):
    tables = []
    for method, name, peer in (
        ("smoothgrad", "tf-keras-vis", smooth_gradients),
        ("integrated", "Xplique", integrated_gradients),
    ):
        reference = f"utils.heatmaps, {method}"
        contestants = {
            "forward and backward pass, once": ours(model, images, ["gradient"]),
            reference: ours(model, images, [method]),
        }
        try:
            contestants[f"{name}, {method}"] = peer(model, images)
        except ImportError as error:
            print(f"{name} is not timed: {error}")
        tables.append(measured(contestants, len(images), reference, repeats=2))
    return pd.concat(tables, ignore_index=True)


def nuclei(model, count=4, samples=200):
    """Seconds per patch of about 40 nuclei, each part by itself."""
    patches = load_sample(patch_size=224, stride=50, tumor_share=0.01)
    numbers = [len(np.unique(nuclei)) - 1 for nuclei in patches.nuclei]
    patches = patches.select(np.argsort(np.abs(np.array(numbers) - 40), kind="stable")[:count])
    numbers = [np.unique(nuclei)[1:] for nuclei in patches.nuclei]
    begun = time.perf_counter()
    variants = [
        np.stack([image, *(without(image, nuclei, [number]) for number in chosen)])
        for image, nuclei, chosen in zip(patches.images, patches.nuclei, numbers, strict=True)
    ]
    seconds = {"fill each nucleus": time.perf_counter() - begun}
    model.log_odds(variants[0])
    begun = time.perf_counter()
    for images in variants:
        model.log_odds(images)
    seconds["predict without each"] = time.perf_counter() - begun
    begun = time.perf_counter()
    heatmaps.sharp_lime(model, patches, samples=samples)
    seconds[f"Sharp-LIME, {samples} subsets"] = time.perf_counter() - begun
    per_patch = {name: value / count for name, value in seconds.items()}
    return pd.DataFrame({"what": per_patch.keys(), "seconds_per_patch": per_patch.values()}).assign(
        nuclei_per_patch=np.mean([len(chosen) for chosen in numbers])
    )


def peak_megabytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM: this part needs Linux")


def memory(model, images, count):
    """Stream many patches, of which only a view exists, and print the peak on the way."""
    many = np.lib.stride_tricks.as_strided(
        images, (count, *images.shape[1:]), (0, *images.strides[1:]), writeable=False
    )
    seen = 0
    for batch in stream(model, many, [model.backbone.cam_layer], methods=METHODS, batch_size=BATCH):
        seen += len(batch.logit)
        if seen in (20 * BATCH, count // 2 // BATCH * BATCH, count):
            print(f"{seen},{peak_megabytes():.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--patches", type=int, default=64)
    parser.add_argument("--streamed", type=int, default=10_000)
    parser.add_argument("--parts", default="speed,input,nuclei,memory")
    parser.add_argument("--in-process", action="store_true", help="used by the script itself")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if not set(parts) <= {"speed", "input", "nuclei", "memory"}:
        parser.error(f"--parts is {arguments.parts}; expected some of speed,input,nuclei,memory")
    for category in (DeadMaps, StretchedMaps):
        warnings.simplefilter("ignore", category)
    model = load_finetunings(choose_backbone(arguments.backbone))[0].model
    images = load_sample(patch_size=SIZE, stride=38).images[: arguments.patches]
    if arguments.in_process:
        memory(model, images, arguments.streamed)
        return
    results = Results(RESULTS, model.backbone.name)
    print(f"{model.title}: {len(images)} patches of {SIZE} px, {model.backbone.cam_layer}")
    measures = {
        "speed": (lambda: speed(model, images), "gradcam_speed.csv"),
        "input": (lambda: input_methods(model, images[:8]), "input_methods_speed.csv"),
        "nuclei": (lambda: nuclei(model), "nuclei_speed.csv"),
    }
    for name, (measure, file) in measures.items():
        if name in parts:
            table = measure()
            print(table.round(2).to_string(index=False))
            results.table(table, file)
    if "memory" in parts:
        # A process of its own, whose peak is not that of the peers.
        command = [sys.executable, __file__, "--in-process", "--backbone", model.backbone.name]
        command += ["--streamed", str(arguments.streamed)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows = [line.split(",") for line in done.stdout.split() if line[0].isdigit()]
        peaks = pd.DataFrame(rows, columns=["patches", "peak_megabytes"])
        print(peaks.to_string(index=False))
        results.table(peaks, "gradcam_memory.csv")


if __name__ == "__main__":
    main()
