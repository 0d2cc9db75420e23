"""What a layer knows: concept measures, their regression and relevance, and what is reused."""

from utils.concepts.analysis import analyse, cross_validated_r2, r2_interaction
from utils.concepts.discovery import concept_importance, concept_maps, discover, name_concepts
from utils.concepts.entanglement import concept_angles, partial_r2
from utils.concepts.folds import group_folds
from utils.concepts.interventions import (
    INTERVENTIONS,
    compare_with_vectors,
    intervention_effects,
    scored_patches,
)
from utils.concepts.measures import MEASURES, ConceptMeasures, texture_measures
from utils.concepts.nuclei import nuclei_measures
from utils.concepts.probes import tumor_by_layer
from utils.concepts.readouts import concept_readouts
from utils.concepts.regression import learning_curve, regress
from utils.concepts.replication import compare_sets, replicate, texture_regressions
from utils.concepts.reuse import margins, reuse_by_layer
from utils.concepts.similarity import cka_by_layer, cka_left_out, feature_changes

__all__ = [
    "INTERVENTIONS",
    "MEASURES",
    "ConceptMeasures",
    "analyse",
    "cka_by_layer",
    "cka_left_out",
    "compare_sets",
    "compare_with_vectors",
    "concept_angles",
    "concept_importance",
    "concept_maps",
    "concept_readouts",
    "cross_validated_r2",
    "discover",
    "feature_changes",
    "group_folds",
    "intervention_effects",
    "learning_curve",
    "margins",
    "name_concepts",
    "nuclei_measures",
    "partial_r2",
    "r2_interaction",
    "regress",
    "replicate",
    "reuse_by_layer",
    "scored_patches",
    "texture_measures",
    "texture_regressions",
    "tumor_by_layer",
]
