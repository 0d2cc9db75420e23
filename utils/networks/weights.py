"""Where weights come from; one network is never substituted for another."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from utils.files import file_sha256
from utils.networks.backbones import Backbone, WeightsUnavailable, get_backbone
from utils.networks.checkpoints import add_head, load_weights_file, read_checkpoint
from utils.networks.model import Model

MODELS = Path(__file__).resolve().parents[2] / "models"
FOLDS = 3  # of the groups, of which each finetuning holds out one


def load_model(
    weights: str | Path = "pretrained", backbone: str | Backbone = "inceptionv3", *, seed: int = 0
) -> Model:
    """Load a network.

    Parameters
    ----------
    weights : str or path
        ``random`` (Glorot uniform kernels), ``pretrained`` (ImageNet), ``shuffled`` (pretrained,
        with the entries of each convolution's kernel permuted), ``finetuned`` (this repository's
        first one, in ``models/``) or the path of a finetuned checkpoint: ``.keras``,
        ``.weights.h5``, or an ``.h5`` of Keras 2 (weights or whole model), in which a backbone may
        be nested as a layer.
    backbone : str or Backbone
    seed : int
        Seed of ``random`` and ``shuffled``.

    Returns
    -------
    Model
    """
    backbone, path = get_backbone(backbone), Path(weights)
    if weights == "random":
        model = Model(backbone.build(), backbone, "random", f"Glorot uniform, seed {seed}", "")
        return _change_layers(model, randomise, seed)
    if weights == "shuffled":
        model = _load_pretrained(backbone)
        origin = f"{model.origin}, kernels shuffled, seed {seed}"
        return _change_layers(replace(model, weights="shuffled", origin=origin), shuffle, seed)
    if weights == "pretrained":
        return _load_pretrained(backbone)
    if weights == "finetuned":
        return load_finetuned(backbone, finetuned_paths(backbone)[1])
    if not path.exists():
        raise FileNotFoundError(
            f"weights is {str(weights)!r}: expected 'random', 'shuffled', 'pretrained', "
            "'finetuned' or the path of an existing .keras, .weights.h5 or .h5 file."
        )
    network, preprocesses = read_checkpoint(path, backbone)
    if broken := [v.path for v in network.variables if not np.isfinite(np.asarray(v)).all()]:
        raise ValueError(f"{path} has weights that are not finite, in {broken[:3]}: train it anew.")
    unsound = unsound_layers(network, backbone)
    about = backbone, str(weights), path.name, file_sha256(path), preprocesses, unsound
    return Model(network, *about)


def finetuned_paths(
    backbone: str | Backbone, folder: Path = MODELS, fold: int = 0, seed: int = 0
) -> tuple[Path, Path]:
    """Locate a finetuned checkpoint and its manifest."""
    stem = f"{get_backbone(backbone).name}_fold{fold}_seed{seed}"
    return Path(folder) / f"{stem}.weights.h5", Path(folder) / f"{stem}.json"


def load_finetuned(backbone: Backbone, manifest_path: Path) -> Model:
    """Load the finetuned network whose checkpoint lies beside this manifest."""
    path = manifest_path.with_suffix(".weights.h5")
    if not (path.exists() and manifest_path.exists()):
        raise WeightsUnavailable(
            f"there is no finetuned {backbone.title} in {path.parent}: make one with 'python -m "
            f"utils.networks finetune --backbone {backbone.name}' (some minutes), or give a path."
        )
    manifest, sha256 = json.loads(manifest_path.read_text()), file_sha256(path)
    if sha256 != manifest["sha256"]:
        raise WeightsUnavailable(
            f"{path} has the hash {sha256[:12]}, but its manifest says {manifest['sha256'][:12]}: "
            "remove both and finetune again."
        )
    network = add_head(backbone.build())
    load_weights_file(network, path, backbone)
    origin = f"finetuned on {manifest['data']['source']} from {manifest['pretrained_origin']}"
    unsound = tuple(manifest["unsound_layers"])
    return Model(network, backbone, "finetuned", origin, sha256, unsound_layers=unsound)


def _load_pretrained(backbone: Backbone) -> Model:
    path, origin = backbone.pretrained()
    network = backbone.build()
    load_weights_file(network, path, backbone)
    unsound, sha256 = unsound_layers(network, backbone), file_sha256(path)
    return Model(network, backbone, "pretrained", origin, sha256, unsound_layers=unsound)


def unsound_layers(network: keras.Model, backbone: Backbone) -> tuple[str, ...]:
    """Return the analysis layers that depend on a convolution whose kernel is all zero.

    Some conversions of ImageNet weights lack convolutions.
    """
    convolutions = (layer for layer in network.layers if hasattr(layer, "kernel_size"))
    empty = [layer for layer in convolutions if not np.any(np.asarray(layer.weights[0]))]
    if not empty:
        return ()
    before = {
        name: keras.Model(network.inputs, backbone.layer(network, name).output).layers
        for name in backbone.layers
    }
    return tuple(name for name, layers in before.items() if any(x in layers for x in empty))


def shuffle(layer: keras.Layer, seed: int) -> None:
    """Permute all entries of a convolution's kernel; other layers stay as they are."""
    for variable in layer.weights if hasattr(layer, "kernel_size") else ():
        if "kernel" in variable.name:
            entries = np.random.default_rng(seed).permutation(variable.numpy().ravel())
            variable.assign(entries.reshape(variable.shape))


def randomise(layer: keras.Layer, seed: int) -> None:
    """Set a layer's weights to what they are before any training; the seed is the kernel's."""
    trained = (keras.layers.Dense, keras.layers.BatchNormalization)
    if not isinstance(layer, trained) and not hasattr(layer, "kernel_size"):
        return  # such as the statistics of a normalisation of the input
    for variable in layer.weights:
        if "kernel" in variable.name:
            variable.assign(keras.initializers.GlorotUniform(seed=seed)(variable.shape))
        else:
            one = variable.name in ("gamma", "moving_variance")
            variable.assign(np.full(variable.shape, float(one)))


def _change_layers(model: Model, change: Callable[[keras.Layer, int], None], seed: int) -> Model:
    """Change each layer with a seed of its own, and hash the values."""
    kernel_index, digest = 0, hashlib.sha256()
    for layer in model.network.layers:
        change(layer, 100_003 * seed + kernel_index)
        kernel_index += len(layer.trainable_variables)
        for variable in layer.trainable_variables:
            digest.update(variable.numpy().tobytes())
    return replace(model, sha256=digest.hexdigest())
