"""Finetune a whole pretrained network to tell tumor from normal patches.

``python -m utils.finetune`` makes what ``load_model("finetuned")`` reads.
"""

import argparse
import contextlib
import hashlib
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from filelock import FileLock
from skimage.color import hed2rgb, rgb2hed
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score

from utils.backbones import Backbone, get_backbone
from utils.features import steady_scaler
from utils.files import file_sha256, whole_file
from utils.models import (
    MODELS_FOLDER,
    Model,
    add_head,
    choose_backbone,
    finetuned_paths,
    load_model,
    make_deterministic,
)
from utils.patches import PatchSet, load_sample
from utils.progress import progress_bar


def finetune(
    model: Model,
    patches: PatchSet,
    *,
    epochs: int = 3,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    stain_jitter: float = 0.05,
    seed: int = 0,
) -> Model:
    """Train a copy of `model`, with a new head, on all of `patches`.

    All kernels are trained, with Adam and class weights. Batch normalisation keeps the pretrained
    statistics: so few steps would leave the moving averages far behind the weights, and the network
    that is trained is then the one that predicts.

    Parameters
    ----------
    model : Model
        Where to start from, without a head; it is left as it is.
    patches : PatchSet
        Training patches of two classes.
    epochs, batch_size, learning_rate
        Of the training.
    stain_jitter : float
        Deviation of the factor on, and ten times that of the shift of, each stain's density.
    seed : int
        Of the head, the order of the patches and their augmentation.

    Returns
    -------
    Model
        With one sigmoid unit, and ``weights="finetuned"``.

    Raises
    ------
    ValueError
        If `patches` has not two classes, or does not fit the network.
    """
    counts = np.bincount(patches.labels, minlength=2)
    if len(counts) != 2 or counts.min() == 0:
        raise ValueError(
            f"patches have {counts.tolist()} of each class; expected some of normal and tumor."
        )
    model.check_images(patches.images)
    if patches.images.shape[1] != patches.images.shape[2]:
        raise ValueError(
            f"patches are {patches.images.shape[1]} x {patches.images.shape[2]} pixels; finetuning "
            "turns them by right angles: read square ones."
        )
    make_deterministic(seed)
    base = keras.models.clone_model(model.network)
    base.set_weights(model.network.get_weights())
    trained = replace(model, network=add_head(base), weights="finetuned", origin="", sha256="")
    variables = trained.network.trainable_variables
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(variables)
    network = trained.submodel([], logit=True)
    class_weights = (len(patches) / (2 * counts)).astype(np.float32)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None,), tf.int64)]
    )
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = network(images, training=False)["logit"]
            losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
            loss = tf.reduce_mean(tf.gather(class_weights, labels) * losses)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    generator = np.random.default_rng(seed)
    starts = range(0, len(patches), batch_size)
    with progress_bar(total=epochs * len(starts), desc=f"finetune {model.backbone.title}") as bar:
        for _ in range(epochs):
            order = generator.permutation(len(patches))
            for start in starts:
                chosen = order[start : start + batch_size]
                images = augment(patches.images[chosen], generator, stain_jitter=stain_jitter)
                loss = step(model.preprocess(images), patches.labels[chosen]).numpy()
                if not np.isfinite(loss):
                    raise ValueError(
                        f"the loss is {loss} at step {bar.n}: lower learning_rate={learning_rate}."
                    )
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update()
    return trained


def augment(
    images: np.ndarray, generator: np.random.Generator, *, stain_jitter: float = 0.05
) -> np.ndarray:
    """Turn, mirror and stain each patch a little differently.

    Right-angle rotations and flips have no preferred one in histology. The stains' densities
    (Ruifrok and Johnston 2001, by scikit-image) are scaled and shifted a little (Tellez 2018).

    Parameters
    ----------
    images : array, (N, H, W, 3), uint8
        Square RGB patches.

    Returns
    -------
    array, (N, H, W, 3), uint8
    """
    turned = []
    for image in images:
        image = np.rot90(image, generator.integers(4))
        turned.append(image[:, ::-1] if generator.integers(2) else image)
    if stain_jitter == 0:
        return np.stack(turned)
    density = rgb2hed(np.stack(turned))
    shape = (len(images), 1, 1, 3)
    factor = generator.normal(1, stain_jitter, shape)
    # Densities of rgb2hed lie within a few tenths, so the shift is smaller than the factor's.
    shift = generator.normal(0, stain_jitter / 10, shape)
    return np.round(255 * hed2rgb(density * factor + shift)).astype(np.uint8)


def evaluate(patches: PatchSet, probability: np.ndarray) -> dict:
    """Measure a classifier's predictions of held-out patches.

    Parameters
    ----------
    patches : PatchSet
    probability : array, (N,)
        Of tumor, from `Model.predict`.

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


def linear_probe(model: Model, patches: PatchSet) -> Model:
    """Put a linear head on a network's pooled last features and fit nothing but that head.

    Logistic regression with class weights, on standardised features (see `steady_scaler`).

    Parameters
    ----------
    model : Model
        Without a head, such as ``pretrained`` or ``random``; it is left as it is.
    patches : PatchSet
        Training patches of two classes.

    Returns
    -------
    Model
        With one sigmoid unit; its other weights are those of `model`.

    Raises
    ------
    ValueError
        If `patches` has only one class, or does not fit the network.
    """
    if len(np.unique(patches.labels)) != 2:
        raise ValueError(f"{patches} has one class; expected normal and tumor patches.")
    probed = replace(model, network=add_head(model.network))

    def build():
        pool = keras.Model(model.network.inputs[0], probed.network.get_layer("pool").output)
        return lambda batch: pool(batch, training=False)

    description = f"{model.weights} under a linear head"
    pooled = probed.run("pool", build, patches.images, description=description)
    features = np.concatenate([part.numpy() for part in pooled])
    scaler = steady_scaler(features.astype(np.float64))
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(scaler.transform(features.astype(np.float64)), patches.labels)
    kernel = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_ - kernel @ scaler.mean_
    probed.network.get_layer("tumor").set_weights([kernel[:, None], bias])
    head = hashlib.sha256(model.sha256.encode() + kernel.tobytes() + bias.tobytes()).hexdigest()
    return replace(
        probed,
        origin=f"{model.origin}, under a linear head fitted to {patches.name}",
        sha256=head if model.sha256 else "",
    )


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
        Of the split and of the training.
    **options
        To `finetune`.

    Returns
    -------
    model : Model
    manifest : dict
        What was trained on what, the held-out groups and metrics.

    Raises
    ------
    ValueError
        If a checkpoint exists that was made from other data, options or pretrained weights.
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
                "versions": {
                    "python": platform.python_version(),
                    "tensorflow": tf.__version__,
                    "keras": keras.__version__,
                },
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
        Of the groups that the manifest says were held out; all where it says nothing of them.
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
    """Load a finetuned network: a checkpoint of one's own, or the sample's, made where missing.

    Parameters
    ----------
    weights : str or Path
        ``finetuned``, or a path as in `utils.models.load_model`.
    backbone : str or Backbone
        ``inceptionv3`` or ``densenet121``.
    """
    if weights == "finetuned":
        return finetuned_model(backbone)[0]
    return load_model(weights, backbone)


def main() -> None:
    """Finetune from the command line, and print the backbone's name for scripts."""
    parser = argparse.ArgumentParser(prog="python -m utils.finetune", description=main.__doc__)
    parser.add_argument("--backbone", default="auto", help="auto, inceptionv3 or densenet121")
    arguments = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        backbone = choose_backbone(arguments.backbone)
        _, manifest = finetuned_model(backbone)
        metrics = manifest["metrics"]
        print(f"finetuned {get_backbone(backbone).title}:", end=" ")
        print(f"held-out AUC {metrics['auc']:.3f}, accuracy {metrics['accuracy']:.3f}", end=" ")
        print(f"on {metrics['patches']} patches of {len(manifest['held_out'])} regions")
    print(backbone)


if __name__ == "__main__":
    main()
