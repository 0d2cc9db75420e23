"""Linear heads on untouched features: the baseline of every finetuned network."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from utils.networks.heads import add_head
from utils.networks.model import Model
from utils.patches import PatchSet
from utils.statistics import steady_scaler


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
    """
    if len(np.unique(patches.labels)) != 2:
        raise ValueError(f"{patches} has one class; expected normal and tumor patches.")
    probed = replace(model, network=add_head(model.network))

    description = f"{model.weights} under a linear head"
    pooled = probed.map(_pool, images=patches.images, description=description)
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


def _pool(model: Model) -> Callable[[tf.Tensor], tf.Tensor]:
    pool = keras.Model(model.network.inputs[0], model.network.get_layer("pool").output)
    return lambda batch: pool(batch, training=False)
