"""Feature visualisation in native Keras, an idea a module as in Lucid (Olah et al. 2017)."""

from utils.optvis import objectives, param, render, transform

__all__ = ["objectives", "param", "render", "transform"]
