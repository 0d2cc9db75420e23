"""The genuine Lucid on TensorFlow 2, and any Keras network as a Lucid model."""

from utils.lucid_bridge.keras_model import to_lucid
from utils.lucid_bridge.rendering import aligned_images, render, render_all, render_channels
from utils.lucid_bridge.tensorflow1 import import_lucid

__all__ = ["aligned_images", "import_lucid", "render", "render_all", "render_channels", "to_lucid"]
