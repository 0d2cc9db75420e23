import cv2
import numpy as np
import pytest
import tensorflow as tf

from utils.networks import layer_features
from utils.optvis import objectives, param
from utils.optvis.crops import Crops
from utils.optvis.render import ascend


def test_crops_against_opencv():
    generator = np.random.default_rng(0)
    small = generator.random((6, 6, 3), dtype=np.float32)
    image = cv2.resize(small, (60, 60), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    crops = Crops(count=5, size=20, noise=0)
    boxes, seeds = crops.draw([3], 1, 10)
    cut = crops.apply(tf.constant(image[None]), tf.constant(boxes), tf.constant(seeds)).numpy()
    assert cut.shape == (5, 20, 20, 3)
    for (top, left, bottom, _), crop in zip(59 * boxes[0], cut, strict=True):
        scale = (bottom - top) / 19
        matrix = np.float32([[scale, 0, left], [0, scale, top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (0.5,) * 3}
        expected = cv2.warpAffine(image, matrix, (20, 20), flags=flags, **border)
        y, x = (start + scale * np.arange(20) for start in (top, left))
        inside = np.logical_and.outer((y >= 0) & (y <= 59), (x >= 0) & (x <= 59))
        np.testing.assert_allclose(crop[inside], expected[inside], atol=0.02)
        np.testing.assert_allclose(crop[~inside], 0.5, atol=1e-6)


def test_draws_depend_on_an_image_s_own_seed_and_shrink():
    crops = Crops(count=40, sides=(0.5, 0.1))
    boxes, _ = crops.draw([7, 8], 1, 100)
    np.testing.assert_array_equal(crops.draw([8], 1, 100)[0][0], boxes[1])
    assert not np.array_equal(crops.draw([8], 2, 100)[0][0], boxes[1])
    many = Crops(count=2000)
    for step, side in ((1, 0.5), (51, 0.5 - 0.45 * 50 / 100)):
        (drawn,), _ = many.draw([0], step, 101)
        sides = drawn[:, 2] - drawn[:, 0]
        assert sides.mean() == pytest.approx(side, abs=0.01)
        assert sides.std() == pytest.approx(0.05, rel=0.1)
        centres = (drawn[:, :2] + drawn[:, 2:]) / 2
        np.testing.assert_allclose(centres.mean(axis=0), 0.5, atol=0.02)
        np.testing.assert_allclose(centres.std(axis=0), 0.15, rtol=0.1)


def test_noise_has_its_deviation_and_depends_on_the_image():
    crops = Crops(count=4, size=32, noise=0.1)
    boxes, seeds = crops.draw([1, 2], 5, 10)
    grey = tf.fill((2, 40, 40, 3), 0.5)
    values = 2 * crops.apply(grey, tf.constant(boxes), tf.constant(seeds)).numpy() - 1
    assert values.std() == pytest.approx(0.1 * np.sqrt(1 + 1 / 12), rel=0.02)
    alone = crops.apply(grey[:1], tf.constant(boxes[1:]), tf.constant(seeds[1:])).numpy()
    np.testing.assert_allclose(2 * alone - 1, values[4:], atol=1e-6)


def test_an_objective_is_the_mean_over_crops(tiny_model):
    crops = Crops(count=6, size=16, noise=0)
    images = param.image(20, batch=3, sd=1.0, seed=1)
    start = images().numpy()
    channels = [objectives.channel("late", number) for number in (0, 2, 4)]
    options = {"thresholds": [1], "last_relus": "kept", "batch_size": 12, "seed": 9}
    history = ascend(tiny_model, channels, lambda: images, crops, **options).history
    boxes, seeds = crops.draw([9, 10, 11], 1, 1)
    pixels = crops.apply(tf.constant(start), tf.constant(boxes), tf.constant(seeds)).numpy()
    seen = layer_features(tiny_model, np.uint8(np.rint(255 * pixels)))["late"].reshape(3, 6, -1)
    expected = [seen[i, :, number].mean() for i, number in enumerate((0, 2, 4))]
    np.testing.assert_allclose(history[0], expected, atol=0.02)


def test_what_cannot_be_cropped_is_refused(tiny_model):
    channel = objectives.channel("late", 0)
    with pytest.raises(ValueError, match=r"canvas has \(16, 16\) pixels, and crops .* to 32"):
        ascend(tiny_model, channel, lambda: param.image(16), Crops(size=32))
    with pytest.raises(ValueError, match="whole, without crops"):
        ascend(tiny_model, objectives.diversity("late"), lambda: param.image(32), Crops(size=16))
    for wrong in ({"count": 0}, {"sides": (0.5, 0)}, {"sides": (1.5, 0.1)}, {"noise": -1}):
        with pytest.raises(ValueError, match="at least one crop"):
            Crops(**wrong)
