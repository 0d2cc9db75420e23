"""How fast are Grad-CAM and Grad-CAM++, against a plain forward pass, tf-keras-vis and Xplique?

    python benchmarks/bench_gradcam.py [--backbone inceptionv3] [--parts speed,memory]

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

from utils.heatmaps import DeadMaps, explain, stream
from utils.networks import choose_backbone, load_finetunings
from utils.patches import load_sample
from utils.results import Results

SIZE = 299
BATCH = 16
METHODS = ("gradcam", "gradcam++")
RESULTS = Path(__file__).resolve().parent / "results"


def measured(contestants, count, repeats=5):
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
    rate = table.set_index("what").loc["utils.heatmaps, both maps", "patches_per_second"]
    return table.assign(utils_heatmaps_by_this=rate / table["patches_per_second"])


def forward(model, images):
    return lambda: model.predict(images, batch_size=BATCH)


def ours(model, images, methods):
    return lambda: explain(model, images, methods=methods, batch_size=BATCH)


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
    }

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
    parser.add_argument("--parts", default="speed,memory")
    parser.add_argument("--in-process", action="store_true", help="used by the script itself")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if not set(parts) <= {"speed", "memory"}:
        parser.error(f"--parts is {arguments.parts}; expected speed, memory or both")
    warnings.simplefilter("ignore", DeadMaps)
    model = load_finetunings(choose_backbone(arguments.backbone))[0].model
    images = load_sample(patch_size=SIZE, stride=38).images[: arguments.patches]
    if arguments.in_process:
        memory(model, images, arguments.streamed)
        return
    results = Results(RESULTS, model.backbone.name)
    print(f"{model.title}: {len(images)} patches of {SIZE} px, {model.backbone.cam_layer}")
    if "speed" in parts:
        table = speed(model, images)
        print(table.round(2).to_string(index=False))
        results.table(table, "gradcam_speed.csv")
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
