"""What a layer knows: concept measures, their regression and relevance, and what is reused."""

from utils.concepts.analysis import analyse, cross_validated_r2
from utils.concepts.measures import MEASURES, ConceptMeasures, nuclei_measures, texture_measures
from utils.concepts.regression import learning_curve, regress
from utils.concepts.similarity import cka_by_layer, cka_of_folds, weight_change

__all__ = [
    "MEASURES",
    "ConceptMeasures",
    "analyse",
    "cka_by_layer",
    "cka_of_folds",
    "cross_validated_r2",
    "learning_curve",
    "nuclei_measures",
    "regress",
    "texture_measures",
    "weight_change",
]
