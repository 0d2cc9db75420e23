"""How much memory do regression concept vectors of many patches take?

    python benchmarks/bench_ridge_memory.py [--patches 20000] [--features 768]

One layer of random features, 6 concepts and their permutations, as in a large dataset. Prints the
seconds and the peak memory of the process, and what of it was taken before by libraries and data.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from utils.concepts import regress


def peak_in_gigabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--permutations", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    x = generator.normal(size=(arguments.patches, arguments.features)).astype(np.float32)
    measures = pd.DataFrame(x[:, :6] + generator.normal(size=(arguments.patches, 6)))
    groups = np.arange(arguments.patches) % 50
    before, begun = peak_in_gigabytes(), time.perf_counter()
    options = {"repeats": arguments.repeats, "permutations": arguments.permutations}
    regress({"layer": x}, measures, groups, gradients={"layer": x}, **options)
    print(
        f"{arguments.patches} patches, {arguments.features} features, 6 concepts, {options}: "
        f"{time.perf_counter() - begun:.0f} s, peak {peak_in_gigabytes():.2f} GB, of which "
        f"{before:.2f} GB before the regression"
    )


if __name__ == "__main__":
    main()
