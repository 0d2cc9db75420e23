"""What is measured of activations, ``(N, h, w, C)``: one number per image, ``(N,)``.

Parameters are stacked, one row per image; formulas are Lucid's.
"""

import numpy as np
import tensorflow as tf


def channel(
    activations: tf.Tensor, number: tf.Tensor, position: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean of a channel of each image."""
    number = tf.cast(number, tf.int32)
    values = tf.gather(_at(activations, position), number, axis=-1, batch_dims=1)
    return tf.reduce_mean(values, axis=(1, 2))


def direction(
    activations: tf.Tensor, vector: tf.Tensor, power: tf.Tensor, position: tf.Tensor | None = None
) -> tf.Tensor:
    """Inner product with a vector, times the floored cosine to a power."""
    return _along(_at(activations, position), vector[:, None, None], power)


def _along(activations, vector, power):
    """Inner product, times the floored cosine to a power, both as Lucid defines them."""
    product = tf.reduce_sum(activations * vector, axis=-1)
    # The floor under the root keeps its gradient finite where all channels are silent.
    lengths = [tf.sqrt(tf.reduce_sum(v * v, axis=-1) + 1e-12) + 1e-4 for v in (activations, vector)]
    cosine = product / (lengths[0] * lengths[1])
    return tf.reduce_mean(product * tf.maximum(0.1, cosine) ** power[:, None, None], axis=(1, 2))


def _at(activations, position):
    """Activations at one position per image, ``(N, 1, 1, C)``; NaN is the centre, None is all."""
    if position is None:
        return activations
    centre = [activations.shape[2] // 2, activations.shape[1] // 2]
    position = tf.where(tf.math.is_nan(position), centre, tf.cast(position, tf.int32))
    return tf.gather_nd(activations, position[:, ::-1], batch_dims=1)[:, None, None]


def mean_square(activations: tf.Tensor) -> tf.Tensor:
    """Mean square of all activations."""
    return tf.reduce_mean(tf.square(activations), axis=(1, 2, 3))


def similarity(activations: tf.Tensor, group: tf.Tensor) -> tf.Tensor:
    """Summed products of an image's normalised Gram matrix with the others' of its group."""
    shape = tf.shape(activations)
    flat = tf.reshape(activations, (shape[0], -1, shape[3]))
    grams = tf.linalg.matmul(flat, flat, transpose_a=True)
    grams = tf.math.l2_normalize(grams, axis=(1, 2), epsilon=1e-10)
    products = tf.einsum("iab,jab->ij", grams, grams)
    others = tf.equal(group[:, None], group) & ~tf.eye(shape[0], dtype=tf.bool)
    return tf.reduce_sum(tf.where(others, products, 0), axis=1)


def absolute_differences(activations: tf.Tensor, constant: tf.Tensor) -> tf.Tensor:
    """Sum of absolute differences from a constant."""
    return tf.reduce_sum(tf.abs(activations - _each(constant)), axis=(1, 2, 3))


def root_of_squares(activations: tf.Tensor, constant: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """Root of the sum of squared differences from a constant."""
    squares = tf.reduce_sum(tf.square(activations - _each(constant)), axis=(1, 2, 3))
    return tf.sqrt(epsilon + squares)


def boundary(images: tf.Tensor, width: tf.Tensor, constant: tf.Tensor) -> tf.Tensor:
    """Negative roughness and distance from a constant of the border of images."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in images.shape[1:3])
    to_edge = np.minimum.outer(rows, columns)[:, :, None]
    border = tf.cast(to_edge < _each(width), tf.float32)
    from_constant = tf.square(images - _each(constant))
    roughness = tf.square(_blur(images, 5) - images) + 0.8 * from_constant
    return -tf.reduce_sum(roughness * border, axis=(1, 2, 3))


def _blur(images, width):
    """Average over squares, whose border has half the weight of the inside, as Lucid does."""
    kernel = np.full((width, width, images.shape[-1], 1), 0.5, np.float32)
    kernel[1:-1, 1:-1] = 1
    options = {"filter": kernel, "strides": (1, 1, 1, 1), "padding": "SAME"}
    sums = [tf.nn.depthwise_conv2d(x, **options) for x in (images, tf.ones_like(images))]
    return sums[0] / sums[1]


def unlike_blurred(images: tf.Tensor) -> tf.Tensor:
    """Half the sum of squared differences to the blurred image, which is taken as given."""
    blurred = tf.stop_gradient(_blur(images, 3))
    return 0.5 * tf.reduce_sum(tf.square(images - blurred), axis=(1, 2, 3))


def root_mean_square(images: tf.Tensor, picture: tf.Tensor) -> tf.Tensor:
    """Root of the mean square difference to a picture."""
    # The floor under the root keeps its gradient finite where nothing differs.
    return tf.sqrt(tf.reduce_mean(tf.square(images - picture), axis=(1, 2, 3)) + 1e-12)


def aligned(activations: tf.Tensor, decay_ratio: tf.Tensor) -> tf.Tensor:
    """Half the negative differences of each image to its neighbours, see `alignment`."""
    flat = tf.reshape(activations, (tf.shape(activations)[0], -1))
    squares = tf.reduce_sum(flat * flat, axis=1)
    products = tf.linalg.matmul(flat, flat, transpose_b=True)
    count = tf.cast(tf.shape(flat)[1], tf.float32)
    differences = (squares[:, None] + squares[None] - 2 * products) / count
    places = tf.range(tf.shape(flat)[0])
    apart = tf.abs(places[:, None] - places[None])
    weights = decay_ratio[:, None] ** -tf.cast(apart, tf.float32)
    near = (apart >= 1) & (apart <= 4)
    return -0.5 * tf.reduce_sum(tf.where(near, weights * differences, 0), axis=1)


def tensor_direction(activations: tf.Tensor, tensor: tf.Tensor, power: tf.Tensor) -> tf.Tensor:
    """`direction` position by position, about the centre."""
    starts = [
        side // 2 - length // 2
        for side, length in zip(activations.shape[1:3], tensor.shape[1:3], strict=True)
    ]
    (y, x), (height, width) = starts, tensor.shape[1:3]
    return _along(activations[:, y : y + height, x : x + width], tensor, power)


def _each(numbers):
    return numbers[:, None, None, None]


COUPLING = (similarity, aligned)  # of an image that depend on the others of its batch
