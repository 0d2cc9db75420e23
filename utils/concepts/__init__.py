"""What a layer knows: concept measures, their regression and relevance, and what is reused."""

from utils.concepts.measures import NUCLEI, TEXTURE, nuclei_measures, texture_measures
from utils.concepts.regression import Regression, concept_vectors, regress
from utils.concepts.relevance import relevance
from utils.concepts.scoring import (
    cross_validated_r2,
    in_sample_r2,
    learning_curve,
    r2_difference,
    r2_table,
)
from utils.concepts.similarity import cka_by_layer, linear_cka, weight_change

__all__ = [
    "NUCLEI",
    "TEXTURE",
    "Regression",
    "cka_by_layer",
    "concept_vectors",
    "cross_validated_r2",
    "in_sample_r2",
    "learning_curve",
    "linear_cka",
    "nuclei_measures",
    "r2_difference",
    "r2_table",
    "regress",
    "relevance",
    "texture_measures",
    "weight_change",
]
