"""Which network with which weights: backbones, checkpoints, finetuning and features."""

from utils.networks.backbones import BACKBONES, Backbone, get_backbone, nearest_names
from utils.networks.checkpoints import flatten, set_layer_weights
from utils.networks.features import constant_share, layer_features, layer_features_and_gradients
from utils.networks.finetuned import evaluate, finetuned_model, held_out_patches, load_finetuned
from utils.networks.finetuning import augment, finetune
from utils.networks.heads import add_head, tumor_logit
from utils.networks.model import INPUT, Model
from utils.networks.pretrained import WeightsUnavailable
from utils.networks.probe import linear_probe
from utils.networks.weights import (
    choose_backbone,
    finetuned_paths,
    load_model,
    make_deterministic,
    randomise,
)

__all__ = [
    "BACKBONES",
    "INPUT",
    "Backbone",
    "Model",
    "WeightsUnavailable",
    "add_head",
    "augment",
    "choose_backbone",
    "constant_share",
    "evaluate",
    "finetune",
    "finetuned_model",
    "finetuned_paths",
    "flatten",
    "get_backbone",
    "held_out_patches",
    "layer_features",
    "layer_features_and_gradients",
    "linear_probe",
    "load_finetuned",
    "load_model",
    "make_deterministic",
    "nearest_names",
    "randomise",
    "set_layer_weights",
    "tumor_logit",
]
