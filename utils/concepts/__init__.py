"""What a layer knows: concept measures, their regression and relevance, and what is reused."""

from utils.concepts.analysis import analyse, cross_validated_r2
from utils.concepts.folds import group_folds
from utils.concepts.measures import MEASURES, ConceptMeasures, texture_measures
from utils.concepts.nuclei import nuclei_measures
from utils.concepts.probes import tumor_by_layer
from utils.concepts.regression import learning_curve, regress
from utils.concepts.reuse import margins, reuse_by_layer
from utils.concepts.similarity import cka_by_layer, cka_of_folds, weight_change

__all__ = [
    "MEASURES",
    "ConceptMeasures",
    "analyse",
    "cka_by_layer",
    "cka_of_folds",
    "cross_validated_r2",
    "group_folds",
    "learning_curve",
    "margins",
    "nuclei_measures",
    "regress",
    "reuse_by_layer",
    "texture_measures",
    "tumor_by_layer",
    "weight_change",
]
