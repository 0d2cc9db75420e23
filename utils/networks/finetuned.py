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


def evaluate(patches: PatchSet, probability: np.ndarray) -> dict:
    """Measure a classifier's predictions of held-out patches.

    Parameters
    ----------
    patches : PatchSet
    probability : array, (N,)
        Probability of tumor, from `Model.predict`.

    Returns
    -------
    dict
        ``auc`` and ``accuracy`` (threshold 0.5) over all patches; ``by_source`` and ``by_group``
        the same where defined, ``auc`` being None where there is one class only.
    """

    def scores(which: np.ndarray) -> dict:
        truth, score = patches.labels[which], probability[which]
        both = len(np.unique(truth)) == 2
        return {
            "patches": int(len(truth)),
            "auc": round(float(roc_auc_score(truth, score)), 4) if both else None,
            "accuracy": round(float(accuracy_score(truth, score > 0.5)), 4),
        }

    sources = np.array([group.split("/")[0] for group in patches.groups])
    return {
        **scores(np.ones(len(patches), bool)),
        "by_source": {str(name): scores(sources == name) for name in np.unique(sources)},
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
    backbone : str
        ``inceptionv3`` or ``densenet121``.
    patches : PatchSet, optional
        The data, a third of which is held out; by default the bundled sample.
    folder : Path
        Where the checkpoint and its manifest are kept.
    seed : int
        Seed of the split and of the training.
    **options
        To `finetune`.

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
    """Keep the patches that a finetuned network has not been trained on, as far as it is known.

    Parameters
    ----------
    patches : PatchSet
    weights : str or Path
        ``finetuned`` or the path of a checkpoint; beside it lies the manifest, if there is one.
    backbone : str or Backbone

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
    which = np.isin(patches.groups, groups)
    if not which.any():
        return patches, None
    return patches.select(which), patches.select(~which)


def load_finetuned(
    weights: str | Path = "finetuned", backbone: str | Backbone = "inceptionv3"
) -> Model:
    """Load a finetuned network: a user's checkpoint, or the sample's, which is trained if missing.

    Parameters
    ----------
    weights : str or Path
        ``finetuned``, or a path as in `load_model`.
    backbone : str or Backbone
        ``inceptionv3`` or ``densenet121``.

    Returns
    -------
    Model
    """
    if weights == "finetuned":
        return finetuned_model(backbone)[0]
    return load_model(weights, backbone)
