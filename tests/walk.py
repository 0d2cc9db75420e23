"""Follow patches from their source to an overlay and to R2 by layer, and print the files entered.

    python tests/walk.py

Each line is a call as a notebook makes it, with the files of `utils` that it is the first to enter.
The calls go through the subpackages in their order, and none goes back to an earlier one.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils import concepts, heatmaps, networks, patches  # noqa: E402
from utils.results import Results, figures  # noqa: E402

UTILS = ROOT / "utils"
ORDER = ("patches", "networks", "concepts", "heatmaps", "optvis", "lucid_bridge")
ORDER += ("claims", "results")


class Walk:
    """Calls in the order of the data, each traced.

    Attributes
    ----------
    calls : list of (str, list of str)
        Subpackage and name of each call, and the files that it is the first to enter.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self._seen: set[str] = set()

    def call(self, function: Callable, *args, **kwargs):
        """Call a function and note the files it enters."""
        entered: dict[str, None] = {}

        def note(frame, event, _):
            if event == "call" and frame.f_code.co_filename.startswith(f"{UTILS}/"):
                entered[Path(frame.f_code.co_filename).relative_to(UTILS).as_posix()] = None

        sys.setprofile(note)
        try:
            result = function(*args, **kwargs)
        finally:
            sys.setprofile(None)
        home = function.__module__.split(".")[1]
        files = [name for name in entered if name not in self._seen]
        self._seen |= set(files)
        self.calls.append((f"{home}: {function.__qualname__}", files))
        return result

    def goes_one_way(self) -> bool:
        """Whether no call is of a subpackage before that of the call before it."""
        places = [ORDER.index(name.split(":")[0]) for name, _ in self.calls]
        return places == sorted(places)

    def __str__(self) -> str:
        return "\n".join(f"{name}\n    {', '.join(files) or '-'}" for name, files in self.calls)


def to_overlay(folder: Path) -> Walk:
    """From the sample to a heat map over a patch."""
    walk = Walk()
    sample = walk.call(patches.load_sample)
    few = walk.call(sample.sample, 2)
    network = walk.call(networks.load_model, "pretrained", "densenet121")
    network = walk.call(networks.linear_probe, network, sample.sample(20))
    maps = walk.call(heatmaps.explain, network, few.images)
    pictures = {
        method: walk.call(figures.overlay, few.images, heat) for method, heat in maps.items()
    }
    outlines = walk.call(figures.outline_neoplastic, few)
    titles = [str(group) for group in few.groups]
    figure = walk.call(figures.explanations, few.images, pictures, titles, outlines=outlines)
    walk.call(Results(folder).figure, figure, "overlay.jpg", "patches beside their heat maps")
    return walk


def to_texture_r2(folder: Path) -> Walk:
    """From the sample to the figure of R2 by layer."""
    walk = Walk()
    few = walk.call(patches.load_patches, "sample", per_class=40)
    network = walk.call(networks.load_model, "pretrained", "densenet121")
    features = walk.call(networks.layer_features, network, few.images, layers=["dense1", "dense4"])
    texture = walk.call(concepts.texture_measures, few.images)
    in_sample = walk.call(concepts.analysis.in_sample_r2, features, texture)
    options = {"folds": 3, "permutations": 10}
    regressions = walk.call(concepts.regress, features, texture, few.groups, **options)
    held_out = walk.call(concepts.analysis.r2_table, regressions)
    tables = [table.assign(network="pretrained") for table in (in_sample, held_out)]
    figure = walk.call(figures.r2_panels, *tables)
    walk.call(Results(folder).figure, figure, "texture_r2.png", "R2 of texture by layer")
    return walk


def main() -> None:
    """Print both walks; the exit code says whether one turns back."""
    figures.use_style()
    with tempfile.TemporaryDirectory() as folder:
        walks = to_overlay(Path(folder)), to_texture_r2(Path(folder))
    for walk in walks:
        print(f"{walk}\none way: {walk.goes_one_way()}\n")
    sys.exit(not all(walk.goes_one_way() for walk in walks))


if __name__ == "__main__":
    main()
