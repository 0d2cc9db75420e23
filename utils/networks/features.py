"""Features: channels averaged over the patch."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import tensorflow as tf

from utils.networks.model import Model

Features = dict[str, np.ndarray]


def layer_features(
    model: Model, images: np.ndarray, *, layers: Sequence[str] | None = None, batch_size: int = 32
) -> Features:
    """Average every channel of every layer over the patch, in one forward pass.

    Parameters
    ----------
    model : Model
        Network with or without a head.
    images : array, (N, H, W, 3), uint8
        RGB patches; may be memory-mapped, since only the averages are kept.
    layers : sequence of str, optional
        By default all analysis layers of the backbone.
    batch_size : int

    Returns
    -------
    dict of str to array, (N, C), float32
        Features by layer.
    """
    return _pooled(model, images, layers, batch_size, _pool_activations)


def layer_features_and_gradients(
    model: Model, images: np.ndarray, *, layers: Sequence[str] | None = None, batch_size: int = 32
) -> tuple[Features, Features]:
    """Compute `layer_features`, and the logit's derivative with respect to each, in one pass.

    Parameters
    ----------
    model, images, layers, batch_size
        As in `layer_features`; the model has a head.

    Returns
    -------
    features, gradients : dict of str to array, (N, C), float32
        A gradient is the derivative of the log-odds of tumor with respect to adding to a channel
        everywhere: the sum over positions.
    """
    return _pooled(model, images, layers, batch_size, _pool_both)


def constant_share(features: Mapping[str, np.ndarray]) -> pd.Series:
    """Compute the share of each layer's channels that are the same for every patch.

    Parameters
    ----------
    features : mapping of str to array, (N, C)

    Returns
    -------
    Series
        Share in [0, 1], by layer.
    """
    return pd.Series({layer: np.mean(np.ptp(x, axis=0) == 0) for layer, x in features.items()})


def _pooled(model, images, layers, batch_size, pool):
    """Concatenate the batches of each array that `pool` computes."""
    layers = list(layers or model.backbone.layers)
    model.check_spatial(layers)
    options = {"images": images, "batch_size": batch_size, "description": model.title}
    batches = model.map(pool, *layers, **options)
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *batches)


def _pool_activations(model, *layers):
    network = model.submodel(layers)
    return lambda batch: _over_positions(tf.reduce_mean, network(batch, training=False))


def _pool_both(model, *layers):
    forward_and_backward = model.activations_and_gradients(layers)

    def pool(batch):
        activations, gradients, _ = forward_and_backward(batch)
        means = _over_positions(tf.reduce_mean, activations)
        return means, _over_positions(tf.reduce_sum, gradients)

    return pool


def _over_positions(reduce, values: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: reduce(value, axis=(1, 2)) for name, value in values.items()}
