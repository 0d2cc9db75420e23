import pytest

from utils.networks.heads import add_head, tumor_logit


def test_networks_without_a_head(tiny_model):
    with pytest.raises(ValueError, match="finetune first"):
        tumor_logit(tiny_model.network)


def test_more_than_two_classes_say_what_to_do(tiny_model):
    with pytest.raises(ValueError, match="one output, one class against the rest"):
        tumor_logit(add_head(tiny_model.network, 3))
