import numpy as np
import pytest

from utils.networks import load_model
from utils.networks.backbones import INCEPTIONV3
from utils.networks.checkpoints import add_head


@pytest.fixture(scope="session")
def head():
    def head(width, units=1):
        generator = np.random.default_rng(1)
        kernel = generator.normal(0, 50, (width, units))
        return [kernel.astype(np.float32), np.float32([0.2] * units)]

    return head


@pytest.fixture(scope="session")
def inception(head):
    """A classifier with weights that tell one layer from another."""
    network = add_head(INCEPTIONV3.build())
    network.set_weights(load_model("random", seed=3).network.get_weights() + head(2048))
    return network
