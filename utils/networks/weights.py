"""Where weights come from: ``random``, ``pretrained``, ``finetuned`` or a user's checkpoint.

This is decided here and nowhere else, and one network is never substituted for another:
`load_model` raises where it cannot give what it was asked for.
"""

import hashlib
import json
from pathlib import Path

import keras
import tensorflow as tf

from utils.files import file_sha256
from utils.networks.backbones import DENSENET121, INCEPTIONV3, Backbone, get_backbone
from utils.networks.checkpoints import load_weights_file, read_checkpoint
from utils.networks.heads import add_head
from utils.networks.model import Model
from utils.networks.pretrained import WeightsUnavailable, inceptionv3_weights

MODELS_FOLDER = Path(__file__).resolve().parent.parent.parent / "models"


def load_model(
    weights: str | Path = "pretrained",
    backbone: str | Backbone = "inceptionv3",
    *,
    seed: int = 0,
    folder: Path = MODELS_FOLDER,
) -> Model:
    """Load a network.

    Parameters
    ----------
    weights : str or path
        ``random`` (Glorot uniform kernels drawn from `seed`), ``pretrained`` (ImageNet),
        ``finetuned`` (this repository's, in ``models/``) or the path of a finetuned checkpoint:
        ``.keras``, ``.weights.h5``, or an ``.h5`` of Keras 2 (weights or whole model). A backbone
        that is nested in the checkpoint as one layer is flattened into one graph.
    backbone : str or Backbone
        ``inceptionv3`` or ``densenet121``.
    seed : int
        Seed of ``random``; the other weights do not depend on it.
    folder : Path
        Where ``finetuned`` is looked for.

    Returns
    -------
    Model

    Raises
    ------
    WeightsUnavailable
        If the pretrained or finetuned weights are unavailable.
    """
    backbone = get_backbone(backbone)
    if weights == "random":
        return _random(backbone, seed)
    if weights == "pretrained":
        return _pretrained(backbone)
    if weights == "finetuned":
        return _finetuned(backbone, Path(folder))
    path = Path(weights)
    if not path.exists():
        raise FileNotFoundError(
            f"weights is {str(weights)!r}: expected 'random', 'pretrained', 'finetuned' or the "
            "path of an existing .keras, .weights.h5 or .h5 file."
        )
    network, preprocesses = read_checkpoint(path, backbone)
    return Model(network, backbone, str(weights), path.name, file_sha256(path), preprocesses)


def make_deterministic(seed: int = 0) -> None:
    """Seed Python, NumPy and TensorFlow, and let TensorFlow use deterministic kernels only.

    Parameters
    ----------
    seed : int
        Seed of all three.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def choose_backbone(requested: str = "auto") -> str:
    """Resolve the notebooks' ``BACKBONE``.

    Parameters
    ----------
    requested : str
        Name of a backbone, or ``auto``: InceptionV3 where its weights are available, otherwise
        DenseNet-121, and one printed sentence says so and how to get InceptionV3.

    Returns
    -------
    str
        Name of the backbone.
    """
    if requested != "auto":
        return get_backbone(requested).name
    try:
        inceptionv3_weights()
    except WeightsUnavailable as error:
        print(f"BACKBONE = 'auto' takes DenseNet-121, since {error}")
        return DENSENET121.name
    return INCEPTIONV3.name


def finetuned_paths(backbone: str | Backbone, folder: Path = MODELS_FOLDER) -> tuple[Path, Path]:
    """Locate a finetuned checkpoint and its manifest.

    Parameters
    ----------
    backbone : str or Backbone
    folder : Path
        Where both are kept.

    Returns
    -------
    weights, manifest : Path
    """
    stem = f"{get_backbone(backbone).name}_finetuned"
    return Path(folder) / f"{stem}.weights.h5", Path(folder) / f"{stem}.json"


def randomise(layer: keras.Layer, seed: int) -> None:
    """Set a layer's weights to what they are before any training.

    Parameters
    ----------
    layer : keras.Layer
        Kernels become Glorot uniform, scales and variances one, the rest zero. Layers without
        anything to train, such as the statistics of a normalisation of the input, stay as they are.
    seed : int
        Seed of the kernel, whatever the process has drawn before.
    """
    if not isinstance(layer, (keras.layers.Dense, keras.layers.BatchNormalization)) and not hasattr(
        layer, "kernel_size"
    ):
        return
    for variable in layer.weights:
        if "kernel" in variable.name:
            start = keras.initializers.GlorotUniform(seed=seed)
        elif variable.name in ("gamma", "moving_variance"):
            start = keras.initializers.Ones()
        else:
            start = keras.initializers.Zeros()
        variable.assign(start(variable.shape))


def _random(backbone: Backbone, seed: int) -> Model:
    network = backbone.build()
    index = 0  # of the layer's kernel among all variables that are trained
    for layer in network.layers:
        randomise(layer, 100_003 * seed + index)
        index += len(layer.trainable_variables)
    digest = hashlib.sha256()
    for variable in network.trainable_variables:
        digest.update(variable.numpy().tobytes())
    return Model(network, backbone, "random", f"Glorot uniform, seed {seed}", digest.hexdigest())


def _pretrained(backbone: Backbone) -> Model:
    if backbone.pretrained is None:
        raise WeightsUnavailable(
            f"{backbone.title} has no source of pretrained weights: give its Backbone one "
            "(pretrained=...), or load a checkpoint by its path."
        )
    path, origin = backbone.pretrained()
    network = backbone.build()
    load_weights_file(network, path, backbone)
    return Model(network, backbone, "pretrained", origin, file_sha256(path))


def _finetuned(backbone: Backbone, folder: Path) -> Model:
    path, manifest_path = finetuned_paths(backbone, folder)
    if not (path.exists() and manifest_path.exists()):
        raise WeightsUnavailable(
            f"there is no finetuned {backbone.title} in {path.parent}: make one with 'python -m "
            f"utils.networks finetune --backbone {backbone.name}' (some minutes), or give a path."
        )
    manifest = json.loads(manifest_path.read_text())
    digest = file_sha256(path)
    if digest != manifest["sha256"]:
        raise WeightsUnavailable(
            f"{path} has the hash {digest[:12]}, but its manifest says "
            f"{manifest['sha256'][:12]}: remove both and finetune again."
        )
    network = add_head(backbone.build())
    load_weights_file(network, path, backbone)
    origin = f"finetuned on {manifest['data']['source']} from {manifest['pretrained_origin']}"
    return Model(network, backbone, "finetuned", origin, digest)
