"""Feature visualisation in native Keras, one idea per module, as in Lucid (Olah et al. 2017).

Channels that are inactive on noise are activated by redirecting the gradient of the last ReLUs, so
that the objective stays the activation that the network computes; lucid4keras' ``prepare_model``,
which linearises them, is ``last_relus="linear"``.
"""

from utils.optvis import choice, complexity, objectives, param, recipes, render, transform

__all__ = ["choice", "complexity", "objectives", "param", "recipes", "render", "transform"]
