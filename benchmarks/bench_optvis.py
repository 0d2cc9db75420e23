"""How fast are images of channels rendered, against Lucid, tf-keras-vis and the processor's limit?

    python benchmarks/bench_optvis.py [--backbone inceptionv3] [--parts speed,maco,memory]

All contestants render the same channels of the same pretrained network, one after the other in one
process; nothing else should run beside. Tables go to standard output and, as CSV, to
``benchmarks/results/``. All of it takes ten minutes on 2 cores. MACO is compared with Xplique's if
that is installed: see the head of ``bench_gradcam.py``.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm.auto import tqdm

from utils import lucid_bridge
from utils.networks import choose_backbone, layer_features, load_model
from utils.optvis import objectives, param, recipes, render, transform
from utils.optvis.choice import sample_channels
from utils.optvis.crops import Crops
from utils.optvis.preparation import prepare_network
from utils.optvis.render import BATCH_SIZE, Ascent
from utils.patches import load_sample
from utils.results import Results
from utils.results.figures import use_style

SIZE = 128
CANVAS = 256  # of MACO
SPEED_LAYER = {"inceptionv3": "mixed6b", "densenet121": "dense3_12"}
RESULTS = Path(__file__).resolve().parent / "results"


def standard_of_lucid():
    """Lucid's own transforms, padded as ours, so that all networks see 128 pixels on average."""
    module = lucid_bridge.import_lucid().optvis.transform
    return [module.pad(6, mode="constant", constant_value=0.5), *module.standard_transforms[1:]]


def rate(run, channels, few=4, many=20, repeats=2):
    """Channel-steps a second and seconds of preparation, from a short and a longer ascent."""
    run(few)  # libraries choose their kernels the first time
    short, long = (
        min(timed(lambda steps=steps: run(steps)) for _ in range(repeats)) for steps in (few, many)
    )
    each = (long - short) / (many - few)
    return channels / each, short - few * each


def timed(function):
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def ours(model, layer, numbers, dtype="float32"):
    def run(steps):
        render.render_vis(
            model,
            [objectives.channel(layer, number) for number in numbers],
            lambda: param.image(SIZE, batch=len(numbers)),
            thresholds=[steps],
            dtype=dtype,
            progress=False,
        )

    return run


def lucid_naive(lucid_model, layer, number):
    optvis = lucid_bridge.import_lucid().optvis

    def run(steps):
        return optvis.render.render_vis(
            lucid_model,
            f"{layer}:{number}",
            lambda: optvis.param.image(SIZE),
            transforms=standard_of_lucid(),
            thresholds=(steps,),
            verbose=False,
        )

    return run


def lucid_expert(lucid_model, layer, numbers):
    def run(steps):
        rendered = lucid_bridge.render_channels(
            {"it": lucid_model},
            {layer: numbers},
            size=SIZE,
            steps=steps,
            transforms=standard_of_lucid(),
            progress=False,
        )
        return rendered["it"][layer]

    return run


def tf_keras_vis(model, layer, numbers):
    """Its own jitter, scale and rotation, without regularisers, on the network cut at the layer."""
    from tf_keras_vis.activation_maximization import ActivationMaximization
    from tf_keras_vis.activation_maximization.input_modifiers import Jitter, Rotate2D, Scale

    network = keras.Model(model.network.inputs, model.layer(layer).output)
    visualiser = ActivationMaximization(network, clone=False)
    start = np.uint8(255 * param.image(SIZE, batch=len(numbers))().numpy())
    start = model.preprocess(start)

    def score(output):
        return [tf.reduce_mean(output[i, ..., number]) for i, number in enumerate(numbers)]

    low, high = (float(v) for v in model.preprocess(np.float32([[0] * 3, [255] * 3]))[:, 0])

    def run(steps):
        visualiser(
            score,
            seed_input=start,
            steps=steps,
            input_range=(low, high),
            input_modifiers=[Jitter(8), Scale(), Rotate2D(10)],
            regularizers=[],
        )

    return run


def sgemm(size=2048, seconds=3.0):
    """Floating-point operations a second of the best matrix product seen."""
    a = tf.random.stateless_normal((size, size), (0, 0))
    product = tf.function(lambda a, b: tf.matmul(a, b))
    product(a, a).numpy()
    best, until = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        best = min(best, timed(lambda: product(a, a).numpy()))
    return 2 * size**3 / best


def operations(model, layer):
    """Floating-point operations of a forward pass up to a layer."""
    network = model.submodel([layer])
    shape = tf.TensorSpec((1, SIZE, SIZE, 3))
    graph = tf.function(lambda x: network(x, training=False)).get_concrete_function(shape).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


def speed(model, lucid_model, layer, channels):
    """Channel-steps a second at one layer."""
    forward, peak = operations(model, layer), sgemm()
    limit = peak / (2 * forward)  # the gradient with respect to the input costs another forward
    print(
        f"{layer} at {SIZE} px: {forward / 1e9:.2f} GFLOP forward, sgemm {peak / 1e9:.0f} GFLOP/s, "
        f"ceiling {limit:.0f} channel-steps/s; {processor()}"
    )
    contestants = [("Lucid, one channel per call", 1, lucid_naive(lucid_model, layer, channels[0]))]
    contestants += [
        (f"Lucid, expert, batch {n}", n, lucid_expert(lucid_model, layer, channels[:n]))
        for n in (8, 32)
    ]
    contestants += [
        (f"tf-keras-vis, batch {n}", n, tf_keras_vis(model, layer, channels[:n])) for n in (1, 8)
    ]
    contestants += [
        (f"utils.optvis, batch {n}, {dtype}", n, ours(model, layer, channels[:n], dtype))
        for dtype in ("float32", "bfloat16")
        for n in (1, 8, 32)
    ]
    rows = []
    for name, count, run in tqdm(contestants, desc="speed"):
        many = 44 if count == 1 else 20
        per_second, preparation = rate(run, count, many=many)
        rows.append((name, per_second, preparation, per_second / limit))
    columns = ["who", "channel-steps/s", "preparation, s", "of the ceiling"]
    table = pd.DataFrame(rows, columns=columns).set_index("who")
    rates = table["channel-steps/s"]
    best = {dtype: rates[f"utils.optvis, batch 32, {dtype}"] for dtype in ("float32", "bfloat16")}
    peers = {
        "naive Lucid": rates["Lucid, one channel per call"],
        "expert Lucid": rates[rates.index.str.startswith("Lucid, expert")].max(),
        "tf-keras-vis": rates[rates.index.str.startswith("tf-keras-vis")].max(),
    }
    print(table.round(2).to_string())
    for dtype, ours_rate in best.items():
        ratios = ", ".join(f"{ours_rate / value:.2f} x {name}" for name, value in peers.items())
        print(f"utils.optvis at batch 32 in {dtype}: {ratios}, {ours_rate / limit:.2f} x ceiling")
    parts = where_the_time_goes(model, layer, channels)
    print("a step of batch 32, float32: " + ", ".join(f"{k} {v:.0f} ms" for k, v in parts.items()))
    linear(model, layer, channels)
    return table.reset_index()


def where_the_time_goes(model, layer, channels):
    """Milliseconds of a step, part by part, each measured alone."""
    numbers = channels[:32]
    image = param.image(SIZE, batch=len(numbers))
    move = transform.compose(transform.standard())
    uniform = tf.constant(move.draw(range(len(numbers)), 1)[0])
    network = prepare_network(model, [layer])
    pixels = image()
    optimizer = keras.optimizers.Adam()
    optimizer.build(image.variables)

    def gradient(function, sources):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            output = function()
        return tape.gradient(output, sources)

    index = tf.constant(numbers)

    def through_network():
        activations = tf.gather(network(pixels, training=False)[layer], index, axis=3, batch_dims=0)
        return tf.reduce_mean(activations, axis=(1, 2))

    parts = {
        "parameterisation": lambda: gradient(image, image.variables),
        "transforms": lambda: gradient(lambda: move.apply(pixels, uniform), pixels),
        "network": lambda: gradient(through_network, pixels),
        "optimizer": lambda: optimizer.apply(image.variables, image.variables),
    }
    times = {}
    for name, part in parts.items():
        compiled = tf.function(part, autograph=False)
        compiled()
        times[name] = 1000 * min(timed(lambda run=compiled: wait(run())) for _ in range(8))
    whole = ours(model, layer, numbers)
    times["whole step"] = 1000 * len(numbers) / rate(whole, len(numbers))[0]
    return times


def wait(tensors):
    for tensor in tf.nest.flatten(tensors):
        if tf.is_tensor(tensor):
            tensor.numpy()


def linear(model, layer, channels):
    """Cost by number of channels, and how often the graph is traced."""
    counts = [32, 64, 96]
    times = []
    for count in counts:
        numbers = [channels[i % len(channels)] for i in range(count)]
        targets = [objectives.channel(layer, number) for number in numbers]
        images = param.image(SIZE, batch=count)
        moves = transform.compose(transform.standard())
        ascent = Ascent(model, targets, images, moves, keras.optimizers.Adam(0.05))
        ascent.run(targets, images, [1])
        times.append(timed(lambda c=ascent, t=targets, i=images: c.run(t, i, [8])))
        traced = ascent.traces
    each = ", ".join(f"{c}: {t:.1f} s" for c, t in zip(counts, times, strict=True))
    print(f"8 steps by number of channels: {each}; graph traced {traced} time(s)")


def maco(model, layer, channels, steps=64):
    """MACO by Xplique and by ours: the same weights, canvas, crops, boxes, noise and optimiser.

    What images reach is the mean activation of their channel on crops that no ascent has seen.
    """
    try:
        from xplique.features_visualizations import Objective
        from xplique.features_visualizations import maco as xplique_maco
    except ImportError as error:
        print(f"MACO is not compared with Xplique's: {error}")
        return None
    crops = Crops(count=8, size=SIZE)
    inputs = keras.Input((SIZE, SIZE, 3))
    black, white = model.preprocess(np.float32([[0] * 3, [255] * 3]))
    network = model.submodel([layer])
    scaled = inputs * ((white - black) / 2) + (white + black) / 2  # from -1 to 1, as Xplique does
    output = keras.layers.Identity(name="target")(network(scaled)[layer])
    wrapped = keras.Model(inputs, output)

    def theirs(number, steps):
        options = {"nb_crops": crops.count, "noise_intensity": crops.noise, "nb_steps": steps}
        objective = Objective.channel(wrapped, "target", number)
        image, _ = xplique_maco(objective, custom_shape=(CANVAS, CANVAS), **options)
        return (np.asarray(image)[None] + 1) / 2

    def ours(numbers, steps):
        recipe = recipes.maco(steps=steps, crops=crops)
        options = {"size": CANVAS, "batch_size": BATCH_SIZE}
        rendered = recipes.render_channels({"it": model}, {layer: numbers}, recipe, **options)
        return rendered["it"][layer]

    few = channels[:4]
    contestants = {
        "Xplique": lambda steps: np.concatenate([theirs(number, steps) for number in few]),
        "utils.optvis, one channel per call": lambda steps: np.concatenate(
            [ours([number], steps) for number in few]
        ),
        "utils.optvis, one call": lambda steps: ours(few, steps),
    }
    rows = []
    for name, run in contestants.items():
        per_second, _ = rate(run, len(few), few=4, many=12)
        reached = on_fresh_crops(network, model, layer, few, run(steps), crops)
        rows.append((layer, name, per_second, reached.mean()))
    columns = ["layer", "who", "channel-steps/s", f"activation after {steps} steps"]
    table = pd.DataFrame(rows, columns=columns)
    table["of Xplique's rate"] = table["channel-steps/s"] / table["channel-steps/s"][0]
    about = f"canvas {CANVAS}, {crops.count} crops of {SIZE} px"
    print(f"MACO at {layer}, {about}:\n{table.set_index('who').round(2).to_string()}")
    return table


def on_fresh_crops(network, model, layer, numbers, images, crops, draws=4):
    """Mean activation of each channel on crops of its image, ``(N,)``."""
    total = np.zeros(len(numbers))
    for draw in range(1, draws + 1):
        seeds = [1_000_000 * draw + i for i in range(len(images))]
        seen = crops.apply(tf.constant(np.float32(images)), *crops.draw(seeds, 1, 1))
        activations = network(model.preprocess(255 * seen), training=False)[layer].numpy()
        means = activations.mean(axis=(1, 2)).reshape(len(numbers), crops.count, -1).mean(axis=1)
        total += [means[i, number] for i, number in enumerate(numbers)]
    return total / draws


def memory(model):
    """Peak memory of a process that renders a batch of 32."""
    code = (
        "import pathlib, re\n"
        "from utils.networks import load_model\n"
        "from utils.optvis import objectives, param, render\n"
        f"model = load_model('pretrained', {model.backbone.name!r})\n"
        f"targets = [objectives.channel({model.backbone.cam_layer!r}, c) for c in range(32)]\n"
        f"start = lambda: param.image({SIZE}, batch=32)\n"
        "render.render_vis(model, targets, start, thresholds=[6], progress=False)\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 2**20)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    peak = float(run.stdout.split()[-1])
    print(f"peak memory, batch of 32 up to {model.backbone.cam_layer}: {peak:.2f} GB, all included")


def processor():
    """Name what decides whether bfloat16 pays."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0]
    except (OSError, IndexError):
        return "processor unknown"
    present = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in flags]
    return f"processor has {', '.join(present) or 'none of avx512f, avx512_bf16, amx_bf16'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--parts", default="speed,maco,memory")
    parser.add_argument("--channels", type=int, default=32)
    arguments = parser.parse_args()
    use_style()
    model = load_model("pretrained", choose_backbone(arguments.backbone))
    name = model.backbone.name
    print(f"{model.title}: {model.origin}")
    lucid_bridge.import_lucid()
    begun = time.perf_counter()
    lucid_model = lucid_bridge.to_lucid(model)
    print(f"frozen for Lucid in {time.perf_counter() - begun:.1f} s")
    patches = load_sample().images[::4]
    responses = layer_features(model, patches, layers=[SPEED_LAYER[name]])
    channels = sample_channels(responses, arguments.channels, seed=0)
    results = Results(RESULTS, name)
    parts = arguments.parts.split(",")
    if "speed" in parts:
        layer = SPEED_LAYER[name]
        results.table(speed(model, lucid_model, layer, channels[layer]), "optvis_speed.csv")
    if "maco" in parts:
        layer = SPEED_LAYER[name]
        table = maco(model, layer, channels[layer])
        if table is not None:
            results.table(table, "optvis_maco.csv")
    if "memory" in parts:
        memory(model)


if __name__ == "__main__":
    main()
