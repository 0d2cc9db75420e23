"""The genuine Lucid on TensorFlow 2, and any Keras network as a Lucid model.

>>> model = to_lucid(keras.applications.InceptionV3())
>>> images = render_channels(model, "mixed5b", [3, 40], size=128)
"""

from utils.lucid_bridge.keras_model import to_lucid
from utils.lucid_bridge.rendering import aligned_images, render, render_all, render_channels
from utils.lucid_bridge.tensorflow1 import import_lucid

__all__ = ["aligned_images", "import_lucid", "render", "render_all", "render_channels", "to_lucid"]
