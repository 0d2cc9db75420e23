"""Methods behind the notebooks: how ImageNet features are reused in histopathology."""

import os

# TensorFlow reads this once, at its own import; whoever wants its start-up log sets it to 0.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
