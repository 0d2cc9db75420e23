"""The measures of Quantus (Hedström et al. 2023) on these networks and heat maps.

network, explainer = for_quantus(model, "gradcam", layer="mixed6e")
quantus.RelevanceMassAccuracy()(network, images.astype("float32"), labels, s_batch=masks[:, None],
                       explain_func=explainer, channel_first=False)
"""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np

from utils.heatmaps.maps import SIGNS, explain
from utils.networks import Model
from utils.networks.checkpoints import flatten


def for_quantus(model: Model, method: str = "gradcam", **options) -> tuple[keras.Model, Callable]:
    """Give a network and one of its heat maps the form that Quantus takes.

    Parameters
    ----------
    model : Model
        A classifier of tumor that ends in a Dense layer.
    method, **options
        Method, and options of `explain`, without the target.

    Returns
    -------
    network : keras.Model
        From RGB patches, float in [0, 255], to two logits, normal and tumor.
    explainer : callable
        ``explainer(model, inputs, targets)``, to maps ``(N, H, W, 1)``; inputs are rounded.
    """
    head = model.network.layers[-1]
    if not isinstance(head, keras.layers.Dense):
        raise ValueError(f"the network ends in {head.name!r}; expected a Dense layer.")
    kernel, bias = head.get_weights()
    if head.units == 1:  # two logits whose difference is the one
        kernel, bias = np.hstack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
    image = keras.Input(model.network.input_shape[1:])
    mean, std = model.backbone.mean, np.array(model.backbone.std)
    scale = keras.layers.Normalization(mean=mean, variance=std**2)
    features = keras.Model(model.network.inputs[0], head.input)
    logits = keras.layers.Dense(2, name="tumor")
    outputs = logits(features(image if model.preprocesses else scale(image)))
    logits.set_weights([kernel, bias])
    network = flatten(keras.Model(image, outputs))

    def explainer(model: keras.Model, inputs: np.ndarray, targets: np.ndarray, **_) -> np.ndarray:
        images = np.uint8(np.round(np.clip(inputs, 0, 255)))
        changed = replace(explained, network=model)  # such as one with random weights
        tumor, normal = (
            explain(changed, images, methods=[method], target=target, **options)[method]
            for target in SIGNS
        )
        return np.where(np.asarray(targets)[:, None, None] == 1, tumor, normal)[..., None]

    explained = replace(model, network=network, preprocesses=True, sha256="")
    return network, explainer
