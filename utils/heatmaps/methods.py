"""The methods: from activations and gradients of a layer to a weighted sum of its channels."""

import tensorflow as tf

METHODS = ("gradcam", "gradcam++", "layercam", "saliency")


def _gradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    weights = tf.reduce_mean(gradients, axis=(1, 2))
    return tf.einsum("nhwc,nc->nhw", activations, weights)


def _gradcam_plus_plus(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    # For y = exp(S) all derivatives of y have the factor exp(S), which cancels in alpha and only
    # scales the map. The sum over positions is the paper's (equation 19).
    total = tf.reduce_sum(activations, axis=(1, 2), keepdims=True)
    # g^2 is divided out of both sides of alpha's fraction: squares and cubes of small gradients
    # are not representable.
    alpha = tf.where(gradients == 0, 0.0, tf.math.divide_no_nan(1.0, 2 + gradients * total))
    weights = tf.reduce_sum(alpha * tf.nn.relu(gradients), axis=(1, 2))
    return tf.einsum("nhwc,nc->nhw", activations, weights)


def _layercam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(activations * tf.nn.relu(gradients), axis=-1)


WEIGHTED_SUMS = {"gradcam": _gradcam, "gradcam++": _gradcam_plus_plus, "layercam": _layercam}
