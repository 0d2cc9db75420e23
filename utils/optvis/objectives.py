"""Objectives: what an image maximises, a weighted sum of measures of layers.

Names and formulas are Lucid's, whose objectives are of a whole batch; these are of one image each.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from utils.networks import INPUT  # the layer name of the image itself, before transforms
from utils.optvis import measures

LOGIT = "logit"  # the layer name of the log-odds of tumor


@dataclass(frozen=True)
class Term:
    """A weight times a measure of a layer."""

    measure: Callable[..., tf.Tensor]  # of activations, (N, h, w, C), and stacked params, to (N,)
    layer: str | tuple[str, ...]  # several of a `Product`
    params: dict[str, np.ndarray]  # float32; tensors, so that one traced graph serves all channels
    weight: float = 1.0

    @property
    def factors(self) -> list["Term"]:
        """The terms whose product this is, or itself."""
        return self.measure.split(self) if isinstance(self.measure, Product) else [self]


@dataclass(frozen=True)
class Product:
    """The product of measures, each of its own layer; parameters have the factor's number."""

    measures: tuple[Callable, ...]
    names: tuple[tuple[str, ...], ...]  # of the parameters of each

    @classmethod
    def of(cls, terms: Sequence[Term]) -> Term:
        """Multiply terms."""
        factors = [factor for term in terms for factor in term.factors]
        names = tuple(tuple(factor.params) for factor in factors)
        params = {f"{k} {i}": v for i, f in enumerate(factors) for k, v in f.params.items()}
        measure = cls(tuple(factor.measure for factor in factors), names)
        weight = float(np.prod([term.weight for term in terms]))
        return Term(measure, tuple(factor.layer for factor in factors), params, weight)

    def split(self, term: Term) -> list[Term]:
        """The factors of a term that is a product, without its weight."""
        return [
            Term(measure, layer, {name: term.params[f"{name} {i}"] for name in names})
            for i, (measure, layer, names) in enumerate(
                zip(self.measures, term.layer, self.names, strict=True)
            )
        ]

    def __call__(self, activations: tuple[tf.Tensor, ...], **params: tf.Tensor) -> tf.Tensor:
        """Multiply what the measures say of activations, by layer."""
        values = [
            measure(x, **{name: params[f"{name} {i}"] for name in names})
            for i, (measure, x, names) in enumerate(
                zip(self.measures, activations, self.names, strict=True)
            )
        ]
        return tf.reduce_prod(tf.stack(values), axis=0)


@dataclass(frozen=True, eq=False)
class Objective:
    """A sum of terms, which adds, subtracts, negates and multiplies, also by another."""

    terms: tuple[Term, ...]

    def __add__(self, other: "Objective | int") -> "Objective":
        if isinstance(other, Objective):
            return Objective(self.terms + other.terms)
        return self if other == 0 else NotImplemented  # sum() starts from 0

    __radd__ = __add__

    def __mul__(self, factor: "float | Objective") -> "Objective":
        if isinstance(factor, Objective):
            pairs = itertools.product(self.terms, factor.terms)
            return Objective(tuple(Product.of(pair) for pair in pairs))
        return Objective(tuple(replace(t, weight=t.weight * float(factor)) for t in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return self * -1

    def __sub__(self, other: "Objective") -> "Objective":
        return self + -other


def channel(layer: str, number: int) -> Objective:
    """Mean activation of a channel."""
    return _objective(measures.channel, layer, number=number)


def neuron(layer: str, number: int, x: int | None = None, y: int | None = None) -> Objective:
    """Activation of a channel at column `x` and row `y` (Lucid: row and column), or the centre."""
    return _objective(measures.channel, layer, number=number, position=(x, y))


def direction(layer: str, vector: np.ndarray, cossim_pow: float = 0.0) -> Objective:
    """Mean product of activations and vector, times their cosine (at least 0.1) to a power."""
    return _objective(measures.direction, layer, vector=vector, power=cossim_pow)


def direction_neuron(
    layer: str,
    vector: np.ndarray,
    x: int | None = None,
    y: int | None = None,
    cossim_pow: float = 0.0,
) -> Objective:
    """`direction` at column `x` and row `y` alone, by default the centre."""
    return _objective(measures.direction, layer, vector=vector, power=cossim_pow, position=(x, y))


def deepdream(layer: str) -> Objective:
    """Mean square of all activations of a layer (Mordvintsev et al. 2015)."""
    return _objective(measures.mean_square, layer)


def channel_interpolate(
    layer1: str, number1: int, layer2: str, number2: int, count: int
) -> list[Objective]:
    """From one channel to another in `count` images, which ``param.image(shared=True)`` aligns."""
    first, last = channel(layer1, number1), channel(layer2, number2)
    return [(1 - share) * first + share * last for share in np.linspace(0, 1, count)]


def class_logit(label: str) -> Objective:
    """Log-odds of a class, ``"tumor"`` or ``"normal"``, before the head's sigmoid or softmax."""
    signs = {"tumor": 1.0, "normal": -1.0}
    if label not in signs:
        raise ValueError(f"label is {label!r}; expected one of {', '.join(signs)}.")
    return signs[label] * _objective(tf.identity, LOGIT)


def diversity(layer: str, group: int = 0) -> Objective:
    """`measures.similarity` to the other images of the same group and batch, to be subtracted."""
    return _objective(measures.similarity, layer, group=group)


def alignment(layer: str, decay_ratio: float = 2.0) -> Objective:
    """Negative mean squares of differences to the images up to four places before and after.

    Of images d apart, divided by ``decay_ratio ** d``; each pair counts half for either image.
    """
    return _objective(measures.aligned, layer, decay_ratio=decay_ratio)


def tensor_direction(layer: str, tensor: np.ndarray, cossim_pow: float = 0.0) -> Objective:
    """`direction` position by position, towards a tensor, (h, w, C), about the layer's centre."""
    return _objective(measures.tensor_direction, layer, tensor=tensor, power=cossim_pow)


def input_diff(picture: np.ndarray) -> Objective:
    """Root of the mean square difference to a picture, ``(H, W, 3)`` in [0, 1], to subtract."""
    return _objective(measures.root_mean_square, INPUT, picture=picture)


def blur_input_each_step() -> Objective:
    """Half the sum of squared differences to the blurred image; subtracting it blurs (Nguyen 2015).

    Subtracted with the weight k in plain gradient ascent, a step moves the image by k towards it.
    """
    return _objective(measures.unlike_blurred, INPUT)


def total_variation(layer: str = INPUT) -> Objective:
    """Sum of absolute differences of neighbours, to be subtracted for smooth images."""
    return _objective(tf.image.total_variation, layer)


def L1(layer: str = INPUT, constant: float = 0.0) -> Objective:
    """Sum of absolute differences from a constant, to be subtracted."""
    return _objective(measures.absolute_differences, layer, constant=constant)


def L2(layer: str = INPUT, constant: float = 0.0, epsilon: float = 1e-6) -> Objective:
    """Root of the sum of squared differences from a constant, to be subtracted."""
    return _objective(measures.root_of_squares, layer, constant=constant, epsilon=epsilon)


def penalize_boundary_complexity(width: int = 20, constant: float = 0.5) -> Objective:
    """Reward an image whose border, `width` pixels wide, is smooth and close to a constant."""
    return _objective(measures.boundary, INPUT, width=width, constant=constant)


def _objective(measure: Callable[..., tf.Tensor], layer: str, **params) -> Objective:
    # Without a position, its None become NaN.
    return Objective((Term(measure, layer, {k: np.float32(v) for k, v in params.items()}),))


def tabulate(objectives: Sequence[Objective]) -> tuple[tuple, list[dict[str, np.ndarray]]]:
    """Sort terms by kind (measure, layer, names of params), on which a graph depends, into rows."""
    table: dict[tuple, list[dict]] = {}
    for image, objective in enumerate(objectives):
        for term in objective.terms:
            row = {"image": np.int32(image), "weight": np.float32(term.weight), **term.params}
            kind = term.measure, term.layer, tuple(term.params)
            table.setdefault(kind, []).append(row)
    stacked = [{k: np.stack([row[k] for row in rows]) for k in rows[0]} for rows in table.values()]
    return tuple(table), stacked


def select(table: Sequence[dict], images: Sequence[int]) -> list[dict]:
    """Cut tabulated rows to a batch of the images; an image may come more than once."""
    selected = []
    for rows in table:
        places, terms = np.nonzero(np.asarray(images)[:, None] == rows["image"])
        chosen = {key: column[terms] for key, column in rows.items()}
        selected.append(chosen | {"image": np.int32(places)})
    return selected


def evaluate(
    kinds: tuple, table: Sequence[dict], activations: dict, count: int, crops: int = 1
) -> tf.Tensor:
    """Evaluate the tabulated objectives of `count` images from activations by layer, ``(N,)``.

    Of several crops per image, ``(N * crops, h, w, C)``, an objective is the mean.
    """
    total = tf.zeros(count)
    for (measure, layer, _), rows in zip(kinds, table, strict=True):
        params = {name: tf.repeat(values, crops, axis=0) for name, values in rows.items()}
        images, weights = params.pop("image"), params.pop("weight") / crops
        places = crops * images + tf.tile(tf.range(crops), tf.shape(rows["image"]))
        several = isinstance(layer, tuple)
        gathered = tuple(
            # There is one image, whatever its crops.
            tf.gather(tf.cast(activations[name], tf.float32), images if name == INPUT else places)
            for name in (layer if several else (layer,))
        )
        measured = measure(gathered if several else gathered[0], **params)
        total += tf.math.unsorted_segment_sum(weights * measured, images, count)
    return total
