"""Feature visualisation in native Keras, one idea per module, as in Lucid (Olah et al. 2017)."""

from utils.optvis import (
    accentuation,
    atlas,
    belief,
    choice,
    complexity,
    crops,
    exemplars,
    maco,
    objectives,
    param,
    priors,
    recipes,
    render,
    survival,
    transform,
)

__all__ = [
    "accentuation",
    "atlas",
    "belief",
    "choice",
    "complexity",
    "crops",
    "exemplars",
    "maco",
    "objectives",
    "param",
    "priors",
    "recipes",
    "render",
    "survival",
    "transform",
]
