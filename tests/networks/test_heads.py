import pytest

from utils.networks import tumor_logit


def test_networks_without_a_head(tiny_model):
    with pytest.raises(ValueError, match="finetune first"):
        tumor_logit(tiny_model.network)
