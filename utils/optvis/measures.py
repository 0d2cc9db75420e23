"""What an objective measures of a layer's activations: one number per image.

Names and formulas are Lucid's.
"""

import numpy as np
import tensorflow as tf


def channel(activations, number):
    """Mean of a channel."""
    return tf.reduce_mean(tf.gather(activations, number, axis=-1, batch_dims=1), axis=(1, 2))


def neuron(activations, number, position):
    """One channel at one position."""
    return tf.gather(_at(activations, position), number, axis=-1, batch_dims=1)


def direction(activations, vector, cossim_pow):
    """Mean product with a vector."""
    vector, power = vector[:, None, None], cossim_pow[:, None, None]
    return tf.reduce_mean(_aligned(activations, vector, power), axis=(1, 2))


def direction_neuron(activations, vector, position, cossim_pow):
    """Product with a vector at one position."""
    return _aligned(_at(activations, position), vector, cossim_pow)


def square(activations):
    """Mean square."""
    return tf.reduce_mean(tf.square(activations), axis=(1, 2, 3))


def logit(logits):
    """Log-odds as they are."""
    return logits


def diversity(activations, group):
    """Summed similarity of normalised Gram matrices with those of the same group."""
    shape = tf.shape(activations)
    flat = tf.reshape(activations, (shape[0], -1, shape[3]))
    grams = tf.linalg.matmul(flat, flat, transpose_a=True)
    grams = tf.math.l2_normalize(grams, axis=(1, 2), epsilon=1e-10)
    similarity = tf.einsum("iab,jab->ij", grams, grams)
    others = tf.equal(group[:, None], group) & ~tf.eye(shape[0], dtype=tf.bool)
    return tf.reduce_sum(tf.where(others, similarity, 0), axis=1)


def total_variation(activations):
    """Sum of absolute differences of neighbours."""
    rows = tf.abs(activations[:, 1:] - activations[:, :-1])
    columns = tf.abs(activations[:, :, 1:] - activations[:, :, :-1])
    return tf.reduce_sum(rows, axis=(1, 2, 3)) + tf.reduce_sum(columns, axis=(1, 2, 3))


def l1(activations, constant):
    """Sum of absolute differences from a constant."""
    return _sum(tf.abs(activations - _expand(constant, activations)))


def l2(activations, constant, epsilon):
    """Root of the sum of squared differences from a constant."""
    return tf.sqrt(epsilon + _sum(tf.square(activations - _expand(constant, activations))))


def boundary_complexity(images, width, constant):
    """Negative roughness and distance from a constant of the border of images."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in images.shape[1:3])
    to_edge = np.minimum.outer(rows, columns)[:, :, None]
    border = tf.cast(to_edge < width[:, None, None, None], tf.float32)
    kernel = np.full((5, 5, 1, 1), 0.5, np.float32)
    kernel[1:-1, 1:-1] = 1

    def blur(x):
        weights = tf.constant(np.tile(kernel, (1, 1, x.shape[-1], 1)))
        return tf.nn.depthwise_conv2d(x, weights, (1, 1, 1, 1), "SAME")

    smooth = blur(images) / blur(tf.ones_like(images))
    from_constant = tf.square(images - _expand(constant, images))
    return -_sum((tf.square(smooth - images) + 0.8 * from_constant) * border)


def _at(activations, position):
    """Activations at one position per image, ``(n, C)``; -1 is the centre."""
    shape = tf.shape(activations)
    centre = tf.stack([shape[2] // 2, shape[1] // 2])
    position = tf.where(position < 0, centre, position)
    return tf.gather_nd(activations, position[:, ::-1], batch_dims=1)


def _aligned(activations, vector, power):
    """Inner product, times the floored cosine to a power, both as Lucid defines them."""
    product = tf.reduce_sum(activations * vector, axis=-1)
    # The floor under the root keeps its gradient finite where all channels are silent.
    lengths = [tf.sqrt(tf.reduce_sum(v * v, axis=-1) + 1e-12) + 1e-4 for v in (activations, vector)]
    return product * tf.maximum(0.1, product / (lengths[0] * lengths[1])) ** power


def _sum(values):
    return tf.reduce_sum(values, axis=tuple(range(1, len(values.shape))))


def _expand(numbers, like):
    return tf.reshape(numbers, (-1, *(1 for _ in like.shape[1:])))
