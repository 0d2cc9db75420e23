"""Which network with which weights: backbones, checkpoints, finetuning and features."""

from utils.networks.backbones import BACKBONES, Backbone, get_backbone
from utils.networks.checkpoints import unfold
from utils.networks.features import (
    constant_share,
    layer_features,
    layer_features_and_gradients,
)
from utils.networks.finetuned import evaluate, finetuned_model, held_out_patches, load_finetuned
from utils.networks.finetuning import augment, finetune
from utils.networks.heads import add_head, tumor_logit
from utils.networks.model import Model
from utils.networks.probe import linear_probe
from utils.networks.weights import (
    WeightsUnavailable,
    choose_backbone,
    finetuned_paths,
    load_model,
    make_deterministic,
)

__all__ = [
    "BACKBONES",
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
    "get_backbone",
    "held_out_patches",
    "layer_features",
    "layer_features_and_gradients",
    "linear_probe",
    "load_finetuned",
    "load_model",
    "make_deterministic",
    "tumor_logit",
    "unfold",
]
