import numpy as np
import pytest

from utils.optvis import objectives, param, render


@pytest.mark.parametrize(
    ("objective", "size", "words"),
    [
        (lambda: objectives.channel("late", 6), 16, "channels 0 to 5"),
        (lambda: objectives.channel("late", 1.5), 16, "channel 1.5 of late"),
        (lambda: objectives.channel("latte", 0), 16, "Nearest: late"),
        (lambda: objectives.neuron("late", 0, x=4, y=0), 16, "x=4, y=0 lies outside.* 4 columns"),
        (lambda: objectives.direction("late", np.ones(3)), 16, "vector of 6 numbers"),
        (lambda: objectives.channel("late", 0), 4, "at least 8"),
        (lambda: objectives.class_logit("tumor"), 16, "expected a head"),
    ],
)
def test_bad_requests(tiny_model, objective, size, words):
    with pytest.raises(ValueError, match=words):
        render.render_vis(tiny_model, objective(), lambda: param.image(size))
