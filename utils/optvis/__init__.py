"""Feature visualisation in native Keras, an idea a module as in Lucid (Olah et al. 2017).

Channels that are silent on noise are woken by redirecting the gradient of the last ReLUs, so that
the objective stays the activation that the network computes; lucid4keras' ``prepare_model``, which
linearises them, is ``last_relus="linear"``.
"""

from utils.optvis import objectives, param, recipes, render, transform

__all__ = ["objectives", "param", "recipes", "render", "transform"]
