"""Where the positions of a layer lie in the image, and how much of it each of them sees.

From input to output, each convolution or pooling with kernel k, dilation d and stride s moves the
first centre by ((k - 1) d / 2 - padding) times the step so far, widens the receptive field by
(k - 1) d times that step, and then multiplies the step by s (Araujo et al. 2019).
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from utils.networks.model import INPUT, Model


class Axis(NamedTuple):
    """Positions of a layer along the height or the width of an image, in pixels.

    Position i has its centre at ``first + i * step`` and sees `field` pixels.
    """

    first: float
    step: float
    field: int
    count: int  # of positions

    @property
    def padding(self) -> float:
        """Pixels by which the first receptive field begins before the image."""
        return (self.field - 1) / 2 - self.first


Positions = tuple[Axis, Axis]  # along height and width


def positions(model: Model, layer: str, size: Sequence[int]) -> Positions:
    """Locate the positions of a layer in images of a given size.

    Layers without a kernel, such as activations, are taken to leave positions where they are. What
    is averaged over the whole image (squeeze and excitation) has no position and does not count.

    Parameters
    ----------
    model : Model
    layer : str
        Analysis layer with spatial extent, or ``input``.
    size : sequence of int
        Height and width of the images, in pixels.

    Returns
    -------
    pair of Axis
        ``first``, ``step``, ``field`` (of vision) in pixels and ``count`` along height and width.
    """
    located: Positions = tuple(Axis(0.0, 1.0, 1, pixels) for pixels in size)
    if layer == INPUT:
        return located
    model.check_spatial([layer])
    end = model.layer(layer).output
    known: dict[int, Positions | None] = {}
    for operation in keras.Model(model.network.inputs, end).operations:
        if isinstance(operation, keras.layers.InputLayer):
            known[id(operation.output)] = located
            continue
        branches = [known.get(id(tensor)) for tensor in tf.nest.flatten(operation.input)]
        before = _agreed(operation, [branch for branch in branches if branch])
        after = before and _after(operation, before)
        known |= {id(tensor): after for tensor in tf.nest.flatten(operation.output)}
    if known[id(end)] is None:
        raise ValueError(f"{layer} is averaged over the image: it has no positions.")
    return known[id(end)]


def _agreed(operation: keras.Operation, branches: list[Positions]) -> Positions | None:
    """Merge branches, whose receptive fields may differ but not their centres."""
    centres = {tuple((axis.first, axis.step) for axis in branch) for branch in branches}
    if len(centres) > 1:
        listed = " and ".join(f"{first:g} + {step:g}i" for (first, step), _ in sorted(centres))
        raise ValueError(
            f"{operation.name} joins branches whose positions lie at different places, {listed} "
            "pixels: maps of this layer and later ones have no place; choose an earlier layer."
        )
    merged = []
    for axes in zip(*branches, strict=True):
        merged.append(axes[0]._replace(field=max(axis.field for axis in axes)))
    return tuple(merged) or None


def _after(operation: keras.Operation, before: Positions) -> Positions | None:
    if isinstance(operation, keras.layers.ZeroPadding2D | keras.layers.Cropping2D):
        is_padding = isinstance(operation, keras.layers.ZeroPadding2D)
        margins = operation.padding if is_padding else operation.cropping
        return tuple(
            _with_margins(axis, *margin, sign=1 if is_padding else -1)
            for axis, margin in zip(before, margins, strict=True)
        )
    if isinstance(operation, keras.layers.UpSampling2D | keras.layers.Conv2DTranspose):
        raise ValueError(f"{operation.name} upsamples: its positions have no centre of their own.")
    kernel = getattr(operation, "kernel_size", None) or getattr(operation, "pool_size", None)
    if kernel is None:
        return before if len(operation.output.shape) == 4 and not _is_global(operation) else None
    dilation = getattr(operation, "dilation_rate", 1)
    dilation = dilation if isinstance(dilation, Sequence) else (dilation, dilation)
    windows = zip(before, kernel, operation.strides, dilation, strict=True)
    return tuple(_with_window(*window, operation.padding) for window in windows)


def _is_global(operation: keras.Operation) -> bool:
    globals_ = keras.layers.GlobalAveragePooling2D | keras.layers.GlobalMaxPooling2D
    return isinstance(operation, globals_)


def _with_margins(axis: Axis, before: int, after: int, *, sign: int) -> Axis:
    first = axis.first - sign * before * axis.step
    return axis._replace(first=first, count=axis.count + sign * (before + after))


def _with_window(axis: Axis, kernel: int, stride: int, dilation: int, padding: str) -> Axis:
    width = (kernel - 1) * dilation  # from the first to the last pixel that a window takes
    if padding == "same":  # TensorFlow's: uneven, and dependent on the size
        count = -(-axis.count // stride)
        left = max((count - 1) * stride + width + 1 - axis.count, 0) // 2
    else:
        count, left = (axis.count - width - 1) // stride + 1, 0
    first = axis.first + (width / 2 - left) * axis.step
    return Axis(first, axis.step * stride, int(axis.field + width * axis.step), count)
