import numpy as np
import pytest

from utils.optvis import transform
from utils.optvis.accentuation import accentuate, accentuated_image
from utils.optvis.crops import Crops
from utils.optvis.param import decorrelated_logits

STILL = transform.compose([])


@pytest.fixture
def patches(sample):
    return np.ascontiguousarray(sample.images[::300][:3, :24, :24])


def test_images_start_from_the_patches_and_lose_energy_only(tiny_model, patches):
    start = accentuated_image(patches)().numpy()
    np.testing.assert_allclose(255 * start, patches, atol=4)
    result = accentuate(tiny_model, patches, "late", [0, 2, 4], steps=30, weight=0.1)
    assert (result.after > result.before).all() and (result.steps == 30).all()
    limits, reached = (
        np.abs(np.fft.rfft2(decorrelated_logits(x)))[..., 1:-1] for x in (patches, result.images)
    )
    assert (reached <= limits + 0.02 * limits.max()).all()
    assert (reached**2).sum() < (limits**2).sum()


def test_a_large_weight_keeps_the_patch(tiny_model, patches):
    options = {"steps": 20, "seen": STILL, "near": "early"}
    free, held = (
        accentuate(tiny_model, patches, "late", [0, 2, 4], weight=weight, **options)
        for weight in (0.0, 1e4)
    )
    start = accentuated_image(patches)().numpy()
    moved = [np.abs(result.images - start).mean() for result in (free, held)]
    assert moved[1] < moved[0] / 3 and (free.after > held.after).all()


def test_it_stops_at_the_target(tiny_model, patches):
    options = {"seen": STILL, "weight": 0.0, "steps": 30}
    whole = accentuate(tiny_model, patches, "late", [0, 2, 4], **options)
    target = whole.before + (whole.after - whole.before) / 2
    target[1] = np.inf
    result = accentuate(tiny_model, patches, "late", [0, 2, 4], target=target, **options)
    assert (result.steps < 30).tolist() == [True, False, True]
    np.testing.assert_allclose(result.images[1], whole.images[1], atol=1e-5)
    for i in (0, 2):
        assert target[i] - 0.05 < result.after[i] < whole.after[i]


def test_crops_are_seen(tiny_model, patches):
    crops = Crops(count=4, size=16, sides=(0.7, 0.7), noise=0.01)
    result = accentuate(tiny_model, patches, "late", [0, 2, 4], seen=crops, steps=20, weight=0.1)
    assert (result.after > result.before).sum() >= 2


def test_wrong_arguments_are_refused(tiny_model, patches):
    with pytest.raises(ValueError, match=r"channels are \[0, 99, 1\]; expected one of 6 for each"):
        accentuate(tiny_model, patches, "late", [0, 99, 1])
    with pytest.raises(ValueError, match="for each of 3 patches"):
        accentuate(tiny_model, patches, "late", [0])
    with pytest.raises(ValueError, match="weight=-1"):
        accentuate(tiny_model, patches, "late", [0, 1, 2], weight=-1)
    with pytest.raises(ValueError, match="needs at least 8"):
        accentuate(tiny_model, patches[:, :4, :4], "late", [0, 1, 2])
