import numpy as np
import pytest

from utils.networks import Model
from utils.networks.backbones import INCEPTIONV3


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((1, 99, 99, 3), np.float32), "float32"),
        (np.zeros((99, 99, 3), np.uint8), "shape"),
        (np.zeros((0, 99, 99, 3), np.uint8), "empty"),
        (np.zeros((1, 74, 74, 3), np.uint8), "at least 75"),
    ],
)
def test_images_that_do_not_fit(images, words, inception):
    model = Model(inception, INCEPTIONV3, "finetuned", "", "")
    with pytest.raises(ValueError, match=words):
        model.predict(images)
