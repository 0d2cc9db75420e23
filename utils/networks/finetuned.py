"""The finetuned network with its manifest: made once, checked, and what was held out."""

import json
from pathlib import Path

import numpy as np
from filelock import FileLock
from sklearn.metrics import accuracy_score, roc_auc_score

from utils.files import file_sha256, whole_file
from utils.networks.backbones import Backbone, get_backbone
from utils.networks.finetuning import finetune
from utils.networks.model import Model
from utils.networks.weights import MODELS_FOLDER, finetuned_paths, load_model
from utils.patches import PatchSet, load_sample
from utils.versions import versions


def load_networks(
    backbone: str | Backbone, finetuned: str | Path = "finetuned", *, random: int = 0, seed: int = 0
) -> dict[str, Model]:
    """Load the networks that are compared, and print the title and origin of each.

    Parameters
    ----------
    backbone : str or Backbone
        Key of `BACKBONES`.
    finetuned : str or Path
        ``finetuned``, the sample's network, which is trained if it does not exist; or the path of a
        checkpoint as in `load_model`.
    random : int
        Number of random networks.
    seed : int
        Seed of the first random network; the next ones have the seeds that follow.

    Returns
    -------
    dict of str to Model
        ``pretrained``, ``finetuned``, ``random``, ``random 2``, ``random 3`` and so on.
    """
    made = finetuned == "finetuned"
    networks = {
        "pretrained": load_model("pretrained", backbone),
        "finetuned": finetuned_model(backbone)[0] if made else load_model(finetuned, backbone),
    }
    for number in range(1, random + 1):
        name = "random" if number == 1 else f"random {number}"
        networks[name] = load_model("random", backbone, seed=seed + number - 1)
    for network in networks.values():
        print(f"{network.title}: {network.origin}")
    return networks


def evaluate(patches: PatchSet, probability: np.ndarray) -> dict:
    """Measure a classifier's predictions of held-out patches.

    Parameters
    ----------
    patches : PatchSet
        Patches with the true labels.
    probability : array, (N,)
        Probability of tumor, from `Model.predict`.

    Returns
    -------
    dict
        ``auc`` and ``accuracy`` (threshold 0.5) over all patches; ``by_source`` and ``by_group``
        the same where defined, ``auc`` being None where there is one class only.
    """

    def scores(chosen: np.ndarray) -> dict:
        truth, score = patches.labels[chosen], probability[chosen]
        both = len(np.unique(truth)) == 2
        return {
            "patches": int(len(truth)),
            "auc": round(float(roc_auc_score(truth, score)), 4) if both else None,
            "accuracy": round(float(accuracy_score(truth, score > 0.5)), 4),
        }

    sources = np.array([group.split("/")[0] for group in patches.groups])
    return {
        **scores(np.ones(len(patches), bool)),
        "by_source": {str(s): scores(sources == s) for s in np.unique(sources)},
        "by_group": {str(g): scores(patches.groups == g) for g in np.unique(patches.groups)},
    }


def finetuned_model(
    backbone: str | Backbone,
    patches: PatchSet | None = None,
    *,
    folder: Path = MODELS_FOLDER,
    seed: int = 0,
    **options,
) -> tuple[Model, dict]:
    """Return the finetuned network and its manifest, training it if there is none yet.

    Parameters
    ----------
    backbone : str or Backbone
        Key of `BACKBONES`.
    patches : PatchSet, optional
        The data, a third of which is held out; by default the bundled sample.
    folder : Path
        Folder of the checkpoint and its manifest.
    seed : int
        Seed of the split and of the training.
    **options
        Options of the training: epochs, batch_size, learning_rate, stain_jitter.

    Returns
    -------
    model : Model
    manifest : dict
        What was trained on what, the held-out groups and metrics.
    """
    backbone = get_backbone(backbone)
    weights_path, manifest_path = finetuned_paths(backbone, folder)
    weights_path.parent.mkdir(parents=True, exist_ok=True)
    patches = load_sample() if patches is None else patches
    pretrained = load_model("pretrained", backbone)
    identity = {
        "backbone": backbone.name,
        "data_sha256": patches.sha256,
        "pretrained_sha256": pretrained.sha256,
        "options": {**finetune.__kwdefaults__, **options, "seed": seed},
    }
    with FileLock(f"{weights_path}.lock"):
        if not (manifest_path.exists() and weights_path.exists()):
            train, test = patches.split(seed=seed)
            model = finetune(pretrained, train, seed=seed, **options)
            with whole_file(weights_path) as scratch:
                model.network.save_weights(scratch)
            manifest = {
                **identity,
                "sha256": file_sha256(weights_path),
                "data": {"source": patches.name, "patches": len(patches)},
                "pretrained_origin": pretrained.origin,
                "held_out": sorted({str(group) for group in test.groups}),
                "metrics": evaluate(test, model.predict(test.images)),
                "versions": versions(),
            }
            with whole_file(manifest_path) as scratch:
                scratch.write_text(json.dumps(manifest, indent=1) + "\n")
    manifest = json.loads(manifest_path.read_text())
    for key, value in identity.items():
        if manifest.get(key) != value:
            raise ValueError(
                f"{manifest_path} was made with {key} = {manifest.get(key)}, not {value}: remove "
                "it to finetune again, or give another folder."
            )
    return load_model("finetuned", backbone, folder=folder), manifest


def held_out_patches(
    patches: PatchSet, weights: str | Path, backbone: str | Backbone
) -> tuple[PatchSet, PatchSet | None]:
    """Keep the patches that a finetuned network was not trained on, as far as its manifest says.

    Parameters
    ----------
    patches : PatchSet
        Patches of any groups.
    weights : str or Path
        ``finetuned`` or the path of a checkpoint; beside it lies the manifest, if there is one.
    backbone : str or Backbone
        Key of `BACKBONES`.

    Returns
    -------
    held_out : PatchSet
        Patches of the groups that the manifest says were held out; all where it says nothing.
    rest : PatchSet or None
        The others; None where the manifest says nothing.
    """
    if weights == "finetuned":
        path = finetuned_paths(backbone)[1]
    else:
        path = Path(str(weights).removesuffix(".weights.h5") + ".json")
    groups = json.loads(path.read_text())["held_out"] if path.is_file() else []
    held_out = np.isin(patches.groups, groups)
    if not held_out.any():
        return patches, None
    return patches.select(held_out), patches.select(~held_out)
