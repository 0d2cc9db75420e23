"""Feature visualisation in native Keras, an idea a module as in Lucid (Olah et al. 2017).

Channels that are silent on noise are woken by redirecting the gradient of ReLU, as Lucid does, and
not by linearising the last ReLU as lucid4keras' ``prepare_model`` does: the objective stays the
activation that the network computes.
"""

from utils.optvis import objectives, param, render, transform

__all__ = ["objectives", "param", "render", "transform"]
