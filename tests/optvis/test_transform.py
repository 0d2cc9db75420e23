import cv2
import numpy as np
import pytest
import tensorflow as tf

from utils.optvis import transform


@pytest.mark.parametrize(
    "move",
    [
        transform.random_rotate([17.0]),
        transform.random_scale([1.2]),
        transform.jitter(6),
        transform.jitter(5),
        transform.pad(4),
        transform.crop_or_pad(30, 44),
        transform.compose(
            [transform.jitter(4), transform.random_scale([0.9]), transform.random_rotate([-8.0])]
        ),
        *(transform.compose(f()) for f in (transform.light, transform.standard, transform.heavy)),
    ],
)
def test_transforms_against_opencv(move):
    generator = np.random.default_rng(0)
    image = cv2.GaussianBlur(generator.random((40, 36, 3)).astype(np.float32), (0, 0), 2)
    matrices = move.draw([3], 1)[0]
    moved = move.apply(tf.constant(image[None]), matrices).numpy()[0]
    height, width = move.resize((40, 36))
    assert moved.shape == (height, width, 3)
    to_centre = np.array([[1, 0, (1 - width) / 2], [0, 1, (1 - height) / 2], [0, 0, 1]])
    from_centre = np.array([[1, 0, 17.5], [0, 1, 19.5], [0, 0, 1]])
    back = from_centre @ matrices[0] @ to_centre
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(image, back[:2], (width, height), flags=flags, borderValue=(0.5,) * 3)
    inside = np.s_[10:-10, 10:-10]
    np.testing.assert_allclose(moved[inside], expected[inside], atol=0.01)


def test_jitter_and_pad_are_crops():
    image = np.random.default_rng(0).random((1, 12, 10, 3)).astype(np.float32)
    for seed in range(5):
        move = transform.compose([transform.pad(3), transform.jitter(5)])
        matrices = move.draw([seed], 1)[0]
        right, down = np.int64(matrices[0, :2, 2] + 2.5)
        padded = np.pad(image, [(0, 0), (3, 3), (3, 3), (0, 0)], constant_values=0.5)
        expected = padded[:, down : down + 13, right : right + 11]
        moved = move.apply(tf.constant(image), tf.constant(matrices))
        np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_transforms_draw_for_each_image_and_step():
    move = transform.compose(transform.standard())
    assert move.resize((128, 90)) == (128, 90)
    first, other = move.draw([0, 1], 1)[0]
    np.testing.assert_array_equal(move.draw([0], 1)[0][0], first)
    for another in (other, move.draw([0], 2)[0][0]):
        assert (first[:2] != another[:2]).all()
    jitter = transform.jitter(8)
    shifts = jitter.draw(range(500), 1)[0]
    assert set(np.unique(shifts[:, :2, 2])) == set(range(-4, 5))


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
def test_gradient_through_transforms_against_finite_differences(scale):
    generator = np.random.default_rng(0)
    smooth = lambda: cv2.GaussianBlur(generator.normal(size=(32, 32, 3)), (0, 0), 2)  # noqa: E731
    image, way, weights = (tf.constant(smooth()[None], tf.float32) for _ in range(3))
    move = transform.compose([transform.random_scale([scale]), transform.random_rotate([9.0])])
    matrices = move.draw([0], 0)[0]
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = tf.reduce_sum(weights * move.apply(image, matrices))
    slope = tf.reduce_sum(way * tape.gradient(value, image)).numpy()
    ends = [tf.reduce_sum(weights * move.apply(image + e * way, matrices)) for e in (1, -1)]
    # The operation's own gradient is a resampling, hence equal up to interpolation only.
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2, rtol=0.05)
