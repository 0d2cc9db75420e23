"""Linear heads: what a network's features are worth without any finetuning."""

import hashlib
from dataclasses import replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from utils.networks.checkpoints import add_head
from utils.networks.model import Model, layer_features
from utils.patches import PatchSet
from utils.statistics import steady_scaler


def last_features(model: Model, patches: PatchSet) -> np.ndarray:
    """Average the channels of a network's last layer over each patch, ``(N, C)``."""
    last = model.network.layers[-1].name
    return layer_features(model, patches.images, layers=[last])[last]


def fit_head(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit logistic regression with class weights; return kernel, ``(C,)``, and bias.

    On standardised features (see `steady_scaler`), with scikit-learn's penalty.
    """
    features = features.astype(np.float64)
    scaler = steady_scaler(features)
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(scaler.transform(features), labels)
    kernel = regression.coef_[0] / scaler.scale_
    return kernel, float(regression.intercept_[0] - kernel @ scaler.mean_)


def linear_probe(model: Model, patches: PatchSet, features: np.ndarray | None = None) -> Model:
    """Put a linear head on a network's pooled last features and train only that head.

    Logistic regression with class weights, on standardised features.

    Parameters
    ----------
    model : Model
        Network without a head; it is not changed.
    patches : PatchSet
    features : array, (N, C), optional
        Pooled last features of the patches, if they are known.

    Returns
    -------
    Model, with one sigmoid unit and else the weights of `model`
    """
    features = last_features(model, patches) if features is None else features
    kernel, bias = fit_head(features, patches.labels)
    network = add_head(model.network)
    network.get_layer("tumor").set_weights([kernel[:, None], np.array([bias])])
    head = hashlib.sha256(model.sha256.encode() + kernel.tobytes() + repr(bias).encode())
    origin = f"{model.origin}, under a linear head fitted to {patches.name}"
    return replace(
        model, network=network, origin=origin, sha256=head.hexdigest() if model.sha256 else ""
    )
