"""Feature visualisation in native Keras, one idea per module, as in Lucid (Olah et al. 2017)."""

from utils.optvis import choice, complexity, objectives, param, recipes, render, survival, transform

__all__ = [
    "choice",
    "complexity",
    "objectives",
    "param",
    "recipes",
    "render",
    "survival",
    "transform",
]
