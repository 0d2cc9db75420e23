"""Finetuned networks of several folds and seeds, made once and kept with their manifests."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from filelock import FileLock

from utils.files import file_sha256, whole_file
from utils.networks.backbones import Backbone, get_backbone
from utils.networks.cross_fitting import Finetuning, numbered
from utils.networks.finetuning import finetune
from utils.networks.gate import calibration, colour_features, evaluate, gate, head_baselines, passed
from utils.networks.model import Model
from utils.networks.probe import last_features, linear_probe
from utils.networks.weights import FOLDS, MODELS, finetuned_paths, load_finetuned, load_model
from utils.patches import PatchSet, load_sample
from utils.versions import versions

FOR_HEADS = 5000  # patches per class to which linear heads are fitted, and on which they are scored
WATCHED = 50  # held-out patches per class that are predicted after every epoch


def finetuned_model(
    backbone: str | Backbone, patches: PatchSet | None = None, *, folder: Path = MODELS, **options
) -> tuple[Model, dict]:
    """Return the finetuned network of the first fold and seed, made if there is none yet.

    Parameters
    ----------
    backbone, patches, folder, **options
        As in `finetuned_models`.

    Returns
    -------
    model : Model
    manifest : dict
        What was trained on what, how, the held-out groups, their measures and the gate.
    """
    (only,) = finetuned_models(backbone, patches, folder=folder, **options)
    return only.model, dict(only.manifest)


def finetuned_models(
    backbone: str | Backbone,
    patches: PatchSet | None = None,
    *,
    folds: int = 1,
    seeds: int = 1,
    folder: str | Path = MODELS,
    **options,
) -> list[Finetuning]:
    """Return finetuned networks that hold out other groups, made where there is none yet.

    Parameters
    ----------
    backbone : str or Backbone
    patches : PatchSet, optional
        The data, of which each fold holds out a third of the groups; by default the bundled sample.
    folds : int
        Number of folds, 1 to 3; with 3, every group is held out once.
    seeds : int
        Number of networks per fold, which differ in the order and augmentation of the patches.
    folder : str or Path
        Where checkpoints, manifests and learning curves are kept.
    **options
        ``epochs``, ``learning_rate`` and others, as in `finetune`; by default the backbone's own.

    Returns
    -------
    list of Finetuning, by fold and seed
    """
    backbone, folder = get_backbone(backbone), Path(folder)
    if not 1 <= folds <= FOLDS or seeds < 1:
        raise ValueError(f"folds={folds}, seeds={seeds}; expected 1 to {FOLDS}, and 1 or more.")
    patches = load_sample() if patches is None else patches
    options = {**finetune.__kwdefaults__, **backbone.finetuning, **options}
    first_seed = options.pop("seed")
    del options["folder"]
    maker = _Maker(backbone, patches, folder, options)
    pairs = list(product(range(folds), range(first_seed, first_seed + seeds)))
    print_estimate(backbone, folder, pairs)
    return [maker.finetuning(fold, seed) for fold, seed in pairs]


def finetuned_by_epochs(
    backbone: str | Backbone,
    epochs: Sequence[int],
    patches: PatchSet | None = None,
    *,
    folder: str | Path = MODELS,
) -> dict[int, Model]:
    """Return networks of the first fold and seed that were finetuned less, or more.

    Parameters
    ----------
    backbone : str or Backbone
    epochs : sequence of int
        Numbers of epochs, each of which has its own warm-up.
    patches : PatchSet, optional
        As in `finetuned_models`.
    folder : str or Path
        Folder of the usual network, in which the others have folders of their own.

    Returns
    -------
    dict of int to Model, by number of epochs
    """
    usual = {**finetune.__kwdefaults__, **get_backbone(backbone).finetuning}["epochs"]
    folders = {n: Path(folder, *([] if n == usual else [f"{n}_epochs"])) for n in sorted(epochs)}
    return {n: finetuned_model(backbone, patches, epochs=n, folder=folders[n])[0] for n in folders}


def print_estimate(backbone: Backbone, folder: Path, pairs: Sequence[tuple[int, int]]) -> None:
    """Print how many of several networks are to be made, and how long the others took."""
    manifests = [finetuned_paths(backbone, folder, *pair)[1] for pair in pairs]
    made = [json.loads(path.read_text())["seconds"] for path in manifests if path.exists()]
    missing = len(pairs) - len(made)
    if missing and len(pairs) > 1:
        took = f"about {missing * np.mean(made) / 60:.0f} minutes" if made else "some minutes each"
        print(f"{missing} of {len(pairs)} finetuned {backbone.title} are to be made: {took}")


class _Maker:
    """Makes networks of one backbone on the same patches, whose features are computed once."""

    def __init__(self, backbone: Backbone, patches: PatchSet, folder: Path, options: dict):
        self._backbone, self._patches, self._folder = backbone, patches, folder
        self._options, self._sides = options, None
        self._pretrained = load_model("pretrained", backbone)
        self._few = patches.sample(FOR_HEADS)
        self._features: dict[str, np.ndarray] = {}  # of the few

    def finetuning(self, fold: int, seed: int) -> Finetuning:
        """Load a network whose manifest fits; make it where there is none."""
        weights, manifest = finetuned_paths(self._backbone, self._folder, fold, seed)
        weights.parent.mkdir(parents=True, exist_ok=True)
        identity = {
            "backbone": self._backbone.name,
            "data_sha256": self._patches.sha256,
            "pretrained_sha256": self._pretrained.sha256,
            "options": {**self._options, "fold": fold, "seed": seed},
        }
        with FileLock(f"{weights}.lock"):
            if not (manifest.exists() and weights.exists()):
                self._make(fold, seed, identity)
        return Finetuning(*_load(self._backbone, manifest, identity))

    def _make(self, fold: int, seed: int, identity: dict) -> None:
        begun = time.monotonic()
        weights, manifest = finetuned_paths(self._backbone, self._folder, fold, seed)
        state = weights.with_name(f".{weights.name}.state")
        _check_state(state, identity)
        self._sides = self._sides or self._patches.folds(FOLDS)
        training, held_out = self._sides[fold]
        inner, validation = training, held_out  # which is watched, and changes nothing
        if self._options["patience"]:
            inner, validation = training.folds(4)[0]
        features = self._features or self._features_of_few()
        of_inner, of_held_out = (
            np.isin(self._few.groups, side.groups) for side in (inner, held_out)
        )
        x = features["pretrained features"][of_inner]
        probe = linear_probe(self._pretrained, self._few.select(of_inner), x)
        options = {**self._options, "seed": seed, "folder": state}
        model, epochs = finetune(probe, inner, validation.sample(WATCHED), **options)
        with whole_file(weights) as scratch:
            model.network.save_weights(scratch)
        probability = model.predict(held_out.images)
        baselines = head_baselines(features, self._few, of_inner, of_held_out)
        conditions = gate(model, held_out, probability, head=baselines["pretrained features"])
        content = {
            **identity,
            "sha256": file_sha256(weights),
            "data": {"source": self._patches.name, "patches": len(self._patches)},
            "patch_size": self._patches.images.shape[1],
            "microns_per_pixel": self._patches.microns_per_pixel,
            "pretrained_origin": self._pretrained.origin,
            "unsound_layers": list(self._pretrained.unsound_layers),
            "held_out": np.unique(held_out.groups).tolist(),
            "trained_on": np.unique(training.groups).tolist(),
            "passed": passed(conditions),
            "gate": conditions.to_dict("records"),
            "metrics": evaluate(held_out, probability),
            "baselines": baselines,
            "calibration": calibration(held_out, probability).round(4).to_dict("list"),
            "epochs": epochs.round(5).to_dict("list"),
            "seconds": round(time.monotonic() - begun, 1),
            "versions": versions(),
        }
        with whole_file(manifest) as scratch:
            scratch.write_text(json.dumps(content, indent=1) + "\n")
        shutil.rmtree(state)

    def _features_of_few(self) -> dict[str, np.ndarray]:
        """Features by the name of the baseline whose linear head takes them."""
        networks = {"pretrained features": self._pretrained}
        networks["random features"] = load_model("random", self._backbone)
        self._features = {name: last_features(m, self._few) for name, m in networks.items()}
        self._features["colours"] = colour_features(self._few)
        return self._features


def _check_state(state: Path, identity: dict) -> None:
    """Raise ValueError if an unfinished run of other options or data lies in a folder."""
    path = state / "run.json"
    if path.exists() and (other := json.loads(path.read_text())) != identity:
        changed = {key: other[key] for key in identity if other[key] != identity[key]}
        raise ValueError(
            f"{state} has an unfinished run with {changed}: remove it, or resume that."
        )
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(identity))


def _load(backbone: Backbone, path: Path, identity: dict) -> tuple[Model, dict]:
    manifest = json.loads(path.read_text())
    if other := [key for key, value in identity.items() if manifest.get(key) != value]:
        made, wanted = ({key: values.get(key) for key in other} for values in (manifest, identity))
        raise ValueError(
            f"{path} was made with {made}, not {wanted}: remove it to finetune again, or give "
            "another folder."
        )
    return load_finetuned(backbone, path), manifest


def load_finetunings(
    backbone: str | Backbone, finetunings: str | Sequence[str | Path] = "one"
) -> list[Finetuning]:
    """Return the finetuned networks that a notebook's ``FINETUNINGS`` names.

    Parameters
    ----------
    backbone : str or Backbone
    finetunings : str or sequence of str or Path
        ``one``, the sample's first fold and seed, made if it does not exist; ``study``, its 3 folds
        by 3 seeds; or the paths of checkpoints, beside which their manifests lie if there are any.

    Returns
    -------
    list of Finetuning
    """
    counts = {"one": (1, 1), "study": (FOLDS, 3)}
    if isinstance(finetunings, str) and finetunings not in counts:
        raise ValueError(
            f"finetunings are {finetunings!r}; expected one, study or a list of paths."
        )
    if isinstance(finetunings, str):
        folds, seeds = counts[finetunings]
        return finetuned_models(backbone, folds=folds, seeds=seeds)
    networks = []
    for path in map(Path, finetunings):
        beside = Path(str(path).removesuffix(".weights.h5") + ".json")
        manifest = json.loads(beside.read_text()) if beside.is_file() else {}
        model = load_model(path, backbone)
        unsound = tuple(manifest.get("unsound_layers", model.unsound_layers))
        networks.append(Finetuning(replace(model, unsound_layers=unsound), manifest))
    return networks


def load_networks(
    backbone: str | Backbone, finetunings: Sequence[Finetuning], *, random: int = 0, seed: int = 0
) -> dict[str, Model]:
    """Load the networks that are compared, and print the title and origin of each.

    Parameters
    ----------
    backbone : str or Backbone
    finetunings : sequence of Finetuning, from `load_finetunings`
    random, seed : int
        Number of random networks, and seed of the first; the others have the seeds that follow.

    Returns
    -------
    dict of Model
        By ``pretrained``, ``finetuned``, ``finetuned 2`` and so on, ``random``, ``random 2`` and so
        on.
    """
    networks = {"pretrained": load_model("pretrained", backbone)}
    networks |= numbered("finetuned", (one.model for one in finetunings))
    seeds = range(seed, seed + random)
    networks |= numbered("random", (load_model("random", backbone, seed=s) for s in seeds))
    for name, network in networks.items():
        print(f"{name} {network.backbone.title}: {network.origin}")
    return networks
