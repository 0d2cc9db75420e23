"""What a layer knows: concept measures, their regression and relevance, and what is reused."""

from utils.concepts.analysis import analyse
from utils.concepts.measures import MEASURES, ConceptMeasures, nuclei_measures, texture_measures
from utils.concepts.regression import concept_vectors, regress
from utils.concepts.relevance import relevance
from utils.concepts.scoring import cross_validated_r2, in_sample_r2, learning_curve, r2_table
from utils.concepts.similarity import cka_by_layer, weight_change

__all__ = [
    "MEASURES",
    "ConceptMeasures",
    "analyse",
    "cka_by_layer",
    "concept_vectors",
    "cross_validated_r2",
    "in_sample_r2",
    "learning_curve",
    "nuclei_measures",
    "r2_table",
    "regress",
    "relevance",
    "texture_measures",
    "weight_change",
]
