"""Features of every layer: channels averaged over the patch, from one pass of the network."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import tensorflow as tf

from utils.files import whole_file
from utils.networks.model import Model


def layer_features(
    model: Model,
    images: np.ndarray,
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 32,
    cache: str | Path | None = None,
) -> dict[str, np.ndarray]:
    """Average every channel of every layer over the patch, in one forward pass.

    Parameters
    ----------
    model : Model
    images : array, (N, H, W, 3), uint8
        May be memory-mapped: only the averages are kept.
    layers : sequence of str, optional
        By default all analysis layers of the backbone.
    batch_size : int
        Patches per pass.
    cache : str or Path, optional
        Folder of HDF5 files, one for each combination of network, weights, images and layers, from
        which the features are read if they are there, and to which they are written if not.

    Returns
    -------
    dict of str to array, (N, C), float32
        By layer, from input to output.
    """
    return _pooled(model, images, layers, batch_size, cache, _pool_activations)["features"]


def layer_features_and_gradients(
    model: Model,
    images: np.ndarray,
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 32,
    cache: str | Path | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Compute `layer_features`, and the logit's derivative with respect to each, in one pass.

    Parameters
    ----------
    model, images, layers, batch_size, cache
        As in `layer_features`.

    Returns
    -------
    features : dict of str to array, (N, C), float32
    gradients : dict of str to array, (N, C), float32
        Derivative of the log-odds of tumor with respect to adding to a channel everywhere: the sum
        of its gradient over positions.
    """
    found = _pooled(model, images, layers, batch_size, cache, _pool_activations_and_gradients)
    return found["features"], found["gradients"]


def _pooled(model, images, layers, batch_size, cache, make) -> dict[str, dict[str, np.ndarray]]:
    layers = list(layers or model.backbone.layers)
    model.check_spatial(layers)
    batches = model.map(
        make, *layers, images=images, batch_size=batch_size, description=model.title
    )
    if cache is None:
        parts = list(batches)
        return {
            kind: {name: np.concatenate([part[kind][name] for part in parts]) for name in layers}
            for kind in parts[0]
        }
    model.check_images(images)  # before they are hashed
    path = _cache_path(model, images, layers, cache, make)
    if not path.exists():
        with whole_file(path) as scratch, h5py.File(scratch, "w") as file:
            start = 0
            for part in batches:
                for kind, by_layer in part.items():
                    for name, values in by_layer.items():
                        rows = values.numpy()
                        shape = (len(images), rows.shape[1])
                        data = file.require_dataset(f"{kind}/{name}", shape, np.float32)
                        data[start : start + len(rows)] = rows
                start += len(rows)
    try:
        with h5py.File(path) as file:
            return {kind: {name: file[kind][name][:] for name in layers} for kind in file}
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it.") from error


def _cache_path(model, images, layers, cache, make) -> Path:
    if not model.sha256:
        raise ValueError(
            f"the weights of {model.title} have no hash, so that their features cannot be told "
            "from others': pass cache=None, or load the network by load_model."
        )
    identity = [make.__name__, model.backbone.name, model.sha256, layers, images.shape]
    identity += [tf.__version__, model.preprocesses]
    digest = hashlib.sha256(json.dumps(identity).encode())
    for image in images:
        digest.update(np.ascontiguousarray(image))
    return Path(cache) / f"{model.backbone.name}-{digest.hexdigest()[:24]}.h5"


def _pool_activations(model, *layers):
    network = model.submodel(layers)

    def pool(batch):
        outputs = network(batch, training=False)
        return {"features": {name: tf.reduce_mean(outputs[name], axis=(1, 2)) for name in layers}}

    return pool


def _pool_activations_and_gradients(model, *layers):
    forward_and_backward = model.activations_and_gradients(layers)

    def pool(batch):
        activations, gradients, _ = forward_and_backward(batch)
        return {
            "features": {name: tf.reduce_mean(activations[name], axis=(1, 2)) for name in layers},
            "gradients": {name: tf.reduce_sum(gradients[name], axis=(1, 2)) for name in layers},
        }

    return pool


def constant_share(features: Mapping[str, np.ndarray]) -> pd.Series:
    """Compute the share of each layer's channels that are the same for every patch.

    Parameters
    ----------
    features : mapping of str to array, (N, C)
        By layer.

    Returns
    -------
    Series
        Share in [0, 1], by layer.
    """
    return pd.Series({layer: np.mean(np.ptp(x, axis=0) == 0) for layer, x in features.items()})
