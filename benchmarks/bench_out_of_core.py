"""How much memory does finetuning take on patches that do not fit, and how long does it wait?

    python benchmarks/bench_out_of_core.py [--backbone densenet121] [--patches 200000]

Makes a file in PatchCamelyon's format, of noise, in a temporary folder (27 kB per patch), and
trains 200 steps on patches drawn from the whole of it. Prints the peak memory of the process, and
the share of time that waits for patches. The same steps are taken again with one batch that is
there already, since preparing patches also takes a share of the processor. Nothing else should run
beside.
"""

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import h5py
import numpy as np
from tqdm.auto import tqdm

from utils.networks import choose_backbone, finetune, finetuning, load_model
from utils.networks.batches import Batches
from utils.networks.checkpoints import add_head
from utils.patches import load_patches

STEPS, BATCH, SIZE, CHUNK = 200, 32, 96, 2_000


class OneBatch(Batches):
    """Batches that are all the first one, which is read once."""

    def __getitem__(self, index):
        if not hasattr(self, "_first"):
            self._first = super().__getitem__(0)
        return self._first


def make_file(folder, count):
    generator = np.random.default_rng(0)
    with h5py.File(folder / "noise_x.h5", "w") as file:
        x = file.create_dataset("x", (count, SIZE, SIZE, 3), np.uint8)
        for start in tqdm(range(0, count, CHUNK), desc="write", unit="chunk"):
            stop = min(start + CHUNK, count)
            x[start:stop] = generator.integers(0, 256, (stop - start, SIZE, SIZE, 3), np.uint8)
    with h5py.File(folder / "noise_y.h5", "w") as file:
        file["y"] = np.arange(count).reshape(-1, 1, 1, 1) % 2
    return folder / "noise_x.h5"


def seconds(model, patches):
    """Time of an epoch, and of waiting for its batches, after a first one that traces the graph."""
    begun, waited = [], []

    class Clock(finetuning.Batches):
        def start(self, epoch):
            begun.append(time.perf_counter())
            waited.clear()
            super().start(epoch)

        def __getitem__(self, index):
            asked = time.perf_counter()
            batch = super().__getitem__(index)
            waited.append(time.perf_counter() - asked)
            return batch

    batches, finetuning.Batches = finetuning.Batches, Clock
    try:
        finetune(model, patches, epochs=2, learning_rate=1e-5, batch_size=BATCH)
    finally:
        finetuning.Batches = batches
    return time.perf_counter() - begun[-1], sum(waited)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--patches", type=int, default=200_000)
    arguments = parser.parse_args()
    network = load_model("random", choose_backbone(arguments.backbone))
    model = replace(network, network=add_head(network.network))
    with tempfile.TemporaryDirectory() as folder:
        patches = load_patches(make_file(Path(folder), arguments.patches))
        size = patches.images.shape[0] * np.prod(patches.images.shape[1:]) / 2**30
        draw = np.random.default_rng(1).permutation(len(patches))[: STEPS // 2 * BATCH]
        drawn = patches.select(np.sort(draw))
        from_file, waited = seconds(model, drawn)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux
        finetuning.Batches = OneBatch
        ready, _ = seconds(model, drawn)
    print(
        f"{network.backbone.title}, {len(patches)} patches of {SIZE} px ({size:.1f} GB): {STEPS} "
        f"steps of {BATCH} from rows {draw.min()} to {draw.max()}, peak memory {peak:.2f} GB; "
        f"{STEPS // 2} steps in {from_file:.0f} s, of which {waited / from_file:.1%} wait for "
        f"patches; with one batch that is ready {ready:.0f} s"
    )


if __name__ == "__main__":
    main()
