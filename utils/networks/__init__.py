"""Which network with which weights: backbones, checkpoints, finetuning and features."""

from utils.networks.backbones import BACKBONES, Backbone, choose_backbone, get_backbone
from utils.networks.controls import add_noise, recalibrate, shuffle_labels
from utils.networks.cross_fitting import (
    Finetuning,
    average_seeds,
    by_seed,
    cross_predict,
    gates,
    layer_features_of_folds,
    numbered,
    pool,
    sample_unseen,
    splits,
    unseen_by_any,
)
from utils.networks.embeddings import load_features, store_features
from utils.networks.finetuned import (
    finetuned_by_epochs,
    finetuned_model,
    finetuned_models,
    load_finetunings,
    load_networks,
)
from utils.networks.finetuning import finetune
from utils.networks.gate import colour_features, evaluate, gate
from utils.networks.geometry import Axis, Positions, positions
from utils.networks.model import INPUT, Model, layer_features, layer_features_and_gradients
from utils.networks.probe import linear_probe
from utils.networks.weights import WeightsUnavailable, load_model

__all__ = [
    "BACKBONES",
    "INPUT",
    "Axis",
    "Backbone",
    "Finetuning",
    "Model",
    "Positions",
    "WeightsUnavailable",
    "add_noise",
    "average_seeds",
    "by_seed",
    "choose_backbone",
    "colour_features",
    "cross_predict",
    "evaluate",
    "finetune",
    "finetuned_by_epochs",
    "finetuned_model",
    "finetuned_models",
    "gate",
    "gates",
    "get_backbone",
    "layer_features",
    "layer_features_and_gradients",
    "layer_features_of_folds",
    "linear_probe",
    "load_features",
    "load_finetunings",
    "load_model",
    "load_networks",
    "numbered",
    "pool",
    "positions",
    "recalibrate",
    "sample_unseen",
    "shuffle_labels",
    "store_features",
    "splits",
    "unseen_by_any",
]
