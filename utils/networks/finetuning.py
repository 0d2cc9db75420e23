"""Finetuning: the trained network with its manifest, its evaluation, and what was held out."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from filelock import FileLock
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score

from utils.files import file_sha256, whole_file
from utils.networks.backbones import Backbone, get_backbone
from utils.networks.checkpoints import add_head
from utils.networks.model import Model, layer_features
from utils.networks.weights import MODELS, finetuned_paths, load_finetuned, load_model
from utils.patches import PatchSet, load_sample
from utils.patches.images import change_stains
from utils.progress import progress_bar
from utils.statistics import steady_scaler
from utils.versions import versions


def load_networks(
    backbone: str | Backbone, finetuned: str | Path = "finetuned", *, random: int = 0, seed: int = 0
) -> dict[str, Model]:
    """Load the networks that are compared, and print the title and origin of each.

    Parameters
    ----------
    backbone : str or Backbone
    finetuned : str or Path
        ``finetuned``, the sample's network, trained if it does not exist; or a checkpoint's path.
    random, seed : int
        Number of random networks, and seed of the first; the others have the seeds that follow.

    Returns
    -------
    dict of Model, by ``pretrained``, ``finetuned``, ``random``, ``random 2`` and so on
    """
    made = finetuned == "finetuned"
    networks = {
        "pretrained": load_model("pretrained", backbone),
        "finetuned": finetuned_model(backbone)[0] if made else load_model(finetuned, backbone),
    }
    for index in range(random):
        name = f"random {index + 1}" if index else "random"
        networks[name] = load_model("random", backbone, seed=seed + index)
    for network in networks.values():
        print(f"{network.title}: {network.origin}")
    return networks


def evaluate(patches: PatchSet, probability: np.ndarray) -> dict:
    """Measure a classifier's predictions of held-out patches.

    Parameters
    ----------
    patches : PatchSet
    probability : array, (N,), of tumor

    Returns
    -------
    dict
        ``patches`` (number), ``auc`` (None if there is one class only) and ``accuracy`` (threshold
        0.5) over all patches; ``by_source`` and ``by_group`` the same for each.
    """

    def scores(rows: pd.DataFrame) -> dict:
        truth, score = rows["label"], rows["probability"]
        auc = round(float(roc_auc_score(truth, score)), 4) if truth.nunique() == 2 else None
        accuracy = round(float(accuracy_score(truth, score > 0.5)), 4)
        return {"patches": len(rows), "auc": auc, "accuracy": accuracy}

    table = pd.DataFrame({"label": patches.labels, "probability": probability})
    groups = pd.Series(patches.groups)
    result = scores(table)
    for name, keys in (("by_source", groups.str.split("/").str[0]), ("by_group", groups)):
        result[name] = {str(key): scores(rows) for key, rows in table.groupby(keys)}
    return result


def finetuned_model(
    backbone: str | Backbone, patches: PatchSet | None = None, *, folder: Path = MODELS, **options
) -> tuple[Model, dict]:
    """Return the finetuned network and its manifest, training it if there is none yet.

    Parameters
    ----------
    backbone : str or Backbone
    patches : PatchSet, optional
        The data, a third of which is held out; by default the bundled sample.
    folder : Path, of the checkpoint and its manifest
    **options : epochs, batch_size, learning_rate, stain_jitter and seed of the training

    Returns
    -------
    model : Model
    manifest : dict
        What was trained on what, the held-out groups and metrics.
    """
    backbone, options = get_backbone(backbone), {**finetune.__kwdefaults__, **options}
    weights_path, manifest_path = finetuned_paths(backbone, folder)
    weights_path.parent.mkdir(parents=True, exist_ok=True)
    patches = load_sample() if patches is None else patches
    pretrained = load_model("pretrained", backbone)
    identity = {
        "backbone": backbone.name,
        "data_sha256": patches.sha256,
        "pretrained_sha256": pretrained.sha256,
        "options": options,
    }
    with FileLock(f"{weights_path}.lock"):
        if not (manifest_path.exists() and weights_path.exists()):
            train, test = patches.split(seed=options["seed"])
            model = finetune(pretrained, train, **options)
            with whole_file(weights_path) as scratch:
                model.network.save_weights(scratch)
            manifest = {
                **identity,
                "sha256": file_sha256(weights_path),
                "data": {"source": patches.name, "patches": len(patches)},
                "pretrained_origin": pretrained.origin,
                "held_out": np.unique(test.groups).tolist(),
                "metrics": evaluate(test, model.predict(test.images)),
                "versions": versions(),
            }
            with whole_file(manifest_path) as scratch:
                scratch.write_text(json.dumps(manifest, indent=1) + "\n")
    manifest = json.loads(manifest_path.read_text())
    if other := [key for key, value in identity.items() if manifest.get(key) != value]:
        made, wanted = ({key: values.get(key) for key in other} for values in (manifest, identity))
        raise ValueError(
            f"{manifest_path} was made with {made}, not {wanted}: remove it to finetune again, or "
            "give another folder."
        )
    return load_finetuned(backbone, folder), manifest


def held_out_patches(
    patches: PatchSet, weights: str | Path, backbone: str | Backbone
) -> tuple[PatchSet, PatchSet | None]:
    """Keep the patches that a finetuned network was not trained on, as far as its manifest says.

    Parameters
    ----------
    patches : PatchSet
    weights : str or Path
        ``finetuned`` or the path of a checkpoint, beside which its manifest lies.
    backbone : str or Backbone

    Returns
    -------
    held_out, rest : PatchSet
        Patches of the held-out groups and the others; all and None if no manifest names any.
    """
    path = Path(str(weights).removesuffix(".weights.h5") + ".json")
    if weights == "finetuned":
        path = finetuned_paths(backbone)[1]
    groups = json.loads(path.read_text())["held_out"] if path.is_file() else []
    held_out = np.isin(patches.groups, groups)
    if not held_out.any():
        return patches, None
    return patches.select(held_out), patches.select(~held_out)


def linear_probe(model: Model, patches: PatchSet) -> Model:
    """Put a linear head on a network's pooled last features and train only that head.

    Logistic regression with class weights, on standardised features (see `steady_scaler`).

    Parameters
    ----------
    model : Model
        Network without a head; it is not changed.
    patches : PatchSet

    Returns
    -------
    Model, with one sigmoid unit and else the weights of `model`
    """
    last = model.network.layers[-1].name
    features = layer_features(model, patches.images, layers=[last])[last].astype(np.float64)
    scaler = steady_scaler(features)
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(scaler.transform(features), patches.labels)
    kernel = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_ - kernel @ scaler.mean_
    network = add_head(model.network)
    network.get_layer("tumor").set_weights([kernel[:, None], bias])
    head = hashlib.sha256(model.sha256.encode() + kernel.tobytes() + bias.tobytes()).hexdigest()
    origin = f"{model.origin}, under a linear head fitted to {patches.name}"
    return replace(model, network=network, origin=origin, sha256=head if model.sha256 else "")


def make_deterministic(seed: int = 0) -> None:
    """Seed Python, NumPy and TensorFlow, and let TensorFlow use deterministic kernels only."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


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
    """Train all kernels of a copy of `model`, with a new head, by Adam with class weights.

    Batch normalisation keeps the pretrained statistics: in so few steps the moving averages could
    not follow the weights. `stain_jitter` is the deviation of the factor on each stain's density.
    """
    model.check_images(patches.images)
    counts, (height, width) = np.bincount(patches.labels, minlength=2), patches.images.shape[1:3]
    if len(counts) != 2 or not counts.all() or height != width:
        raise ValueError(f"{patches}: expected square patches, some normal and some tumor.")
    make_deterministic(seed)
    network = add_head(model.copy().network)
    trained = replace(model, network=network, weights="finetuned", origin="", sha256="")
    step = _training_step(trained, counts, learning_rate)
    generator = np.random.default_rng(seed)
    starts = range(0, len(patches), batch_size)
    with progress_bar(total=epochs * len(starts), desc=f"finetune {model.backbone.title}") as bar:
        for _ in range(epochs):
            order = generator.permutation(len(patches))
            for start in starts:
                batch = order[start : start + batch_size]
                images = augment(patches.images[batch], generator, stain_jitter)
                loss = step(model.preprocess(images), patches.labels[batch]).numpy()
                if not np.isfinite(loss):
                    raise ValueError(f"the loss is {loss} at step {bar.n}: lower {learning_rate=}.")
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update()
    return trained


def _training_step(model: Model, counts: np.ndarray, learning_rate: float) -> Callable:
    """Make the function that updates all weights with a batch, and returns its loss."""
    variables = model.network.trainable_variables
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(variables)
    network = model.submodel([], logit=True)
    class_weights = (counts.sum() / (2 * counts)).astype(np.float32)
    signature = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None,), tf.int64)]

    @tf.function(input_signature=signature)
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = network(images, training=False)["logit"]
            losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
            loss = tf.reduce_mean(tf.gather(class_weights, labels) * losses)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step


def augment(images: np.ndarray, generator: np.random.Generator, stain_jitter: float) -> np.ndarray:
    """Rotate, mirror and restain square patches at random (tissue has no preferred orientation)."""
    turned = []
    for image in images:
        image = np.rot90(image, generator.integers(4))
        turned.append(image[:, ::-1] if generator.integers(2) else image)
    if stain_jitter == 0:
        return np.stack(turned)
    factor = generator.normal(1, stain_jitter, (len(images), 1, 1, 3))
    shift = generator.normal(0, stain_jitter / 10, factor.shape)  # densities are a few tenths
    return change_stains(np.stack(turned), factor, shift)
