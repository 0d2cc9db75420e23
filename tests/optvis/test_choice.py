import numpy as np
import pytest

from utils.optvis.choice import choose_channels, exciting_patches, sample_channels


def test_constant_channels_are_not_drawn():
    responses = {"a": np.array([[1.0, 0, 2, 5], [1.0, 3, 2, 6]])}
    assert sample_channels(responses, 2) == {"a": [1, 3]}
    many = {name: np.random.default_rng(0).random((3, 100)) for name in "bc"}
    both = sample_channels(many, 5)
    assert both["b"] != both["c"] and sample_channels({"c": many["c"]}, 5)["c"] == both["c"]
    with pytest.raises(ValueError, match="2 channels that vary"):
        sample_channels(responses, 3)


def test_exciting_patches_come_highest_first():
    response = np.array([[0.0, 3], [0, 9], [0, 5], [0, 9]])
    assert exciting_patches(response, 1, 3).tolist() == [1, 3, 2]


def test_channels_are_chosen_by_a_named_rule():
    responses = {"a": np.array([[1.0, 0, 2, 5], [1.0, 3, 2, 6]])}
    assert choose_channels(responses, 2, seed=3) == sample_channels(responses, 2, seed=3)
    assert choose_channels(responses, 2, "highest") == {"a": [3, 2]}
    with pytest.raises(ValueError, match="'best'; expected sample or highest"):
        choose_channels(responses, 2, "best")
