"""Which network with which weights: backbones, checkpoints, finetuning and features."""

from utils.networks.backbones import BACKBONES, Backbone, choose_backbone, get_backbone
from utils.networks.finetuning import (
    evaluate,
    finetuned_model,
    held_out_patches,
    linear_probe,
    load_networks,
)
from utils.networks.model import (
    INPUT,
    Model,
    constant_share,
    layer_features,
    layer_features_and_gradients,
)
from utils.networks.weights import WeightsUnavailable, load_model

__all__ = [
    "BACKBONES",
    "INPUT",
    "Backbone",
    "Model",
    "WeightsUnavailable",
    "choose_backbone",
    "constant_share",
    "evaluate",
    "finetuned_model",
    "get_backbone",
    "held_out_patches",
    "layer_features",
    "layer_features_and_gradients",
    "linear_probe",
    "load_model",
    "load_networks",
]
