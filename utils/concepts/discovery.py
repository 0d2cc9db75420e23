"""Concepts without names: what the activations of a layer are made of, and what each is worth.

After Fel et al., "CRAFT: Concept Recursive Activation FacTorization for Explainability", CVPR 2023
(arXiv 2211.10154): non-negative factors of the activations of crops, and Sobol indices of the
log-odds. Crops keep their scale, since the size of a nucleus matters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.stats import sobol_indices, uniform
from sklearn.decomposition import NMF

from utils.networks import Model, layer_features
from utils.networks.model import activations as read_activations
from utils.progress import progress_bar

_NMF = {"init": "nndsvda", "max_iter": 5000, "tol": 1e-5}


@dataclass(frozen=True)
class Concepts:
    """K non-negative directions of a layer's activations, and the M crops they were found on."""

    layer: str
    basis: np.ndarray  # (K, C), float32
    coefficients: np.ndarray  # (M, K), float32, of the crops
    crops: np.ndarray  # (M, h, w, 3), uint8
    patches: np.ndarray  # (M,), index of each crop's patch
    error: float  # length of what the concepts do not explain, as a share of the activations'

    def best_crops(self, concept: int, count: int = 9) -> np.ndarray:
        """Return the crops with most of a concept, one per patch, ``(n, h, w, 3)`` uint8."""
        order = np.argsort(-self.coefficients[:, concept], kind="stable")
        _, first = np.unique(self.patches[order], return_index=True)
        return self.crops[order[np.sort(first)[:count]]]


def cut_crops(images: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut patches, ``(N, H, W, 3)``, into squares that overlap by half at most.

    Returns the crops, (M, side, side, 3), and the patch of each, (M,).
    """
    height, width = images.shape[1:3]
    if not 0 < side <= min(height, width):
        raise ValueError(f"side is {side}; expected 1 to {min(height, width)}, the patches' side.")
    starts = [
        np.unique(np.linspace(0, n - side, 1 + -(-(n - side) * 2 // side)).round().astype(int))
        for n in (height, width)
    ]
    corners = [(y, x) for y in starts[0] for x in starts[1]]
    crops = np.stack([images[:, y : y + side, x : x + side] for y, x in corners], axis=1)
    return crops.reshape(-1, side, side, 3), np.repeat(np.arange(len(images)), len(corners))


def discover(
    model: Model, images: np.ndarray, layer: str, count: int, *, side: int, seed: int = 0
) -> Concepts:
    """Factorise the mean activations of crops into concepts.

    Parameters
    ----------
    model : Model
    images : array, (N, H, W, 3), uint8
        Patches, such as those of tumor.
    layer : str
        Layer after a ReLU: activations must not be negative.
    count : int
        Number of concepts, at most that of crops and of channels.
    side : int
        Side of the crops, in pixels.
    seed : int
        Seed of the factorisation's start.

    Returns
    -------
    Concepts
    """
    crops, patches = cut_crops(images, side)
    activations = layer_features(model, crops, layers=[layer])[layer]
    if activations.min() < -1e-6 * np.abs(activations).max():
        raise ValueError(f"{layer} has negative activations: choose a layer after a ReLU.")
    if not 1 <= count <= min(activations.shape):
        raise ValueError(
            f"count is {count}; expected 1 to {min(activations.shape)}: there are {len(crops)} "
            f"crops and {activations.shape[1]} channels."
        )
    activations = np.maximum(activations, 0)
    factors = NMF(count, random_state=seed, **_NMF)
    coefficients = factors.fit_transform(activations)
    error = factors.reconstruction_err_ / np.linalg.norm(activations)
    basis = factors.components_.astype(np.float32)
    return Concepts(layer, basis, coefficients.astype(np.float32), crops, patches, float(error))


def concept_maps(model: Model, concepts: Concepts, images: np.ndarray) -> np.ndarray:
    """Compute how much of each concept the positions of a layer have.

    Parameters
    ----------
    model : Model
    concepts : Concepts
    images : array, (N, H, W, 3), uint8

    Returns
    -------
    array, (N, h, w, K), float32
    """
    layer = concepts.layer
    batches = model.map(read_activations, layer, images=images, description="concept maps")
    return np.concatenate([_project(concepts, batch.numpy()) for batch in batches])


def _project(concepts: Concepts, activations: np.ndarray) -> np.ndarray:
    """Non-negative coefficients of activations, ``(n, h, w, C)``, for a known basis."""
    flat = np.maximum(activations.reshape(-1, activations.shape[-1]), 0)
    factors = NMF(len(concepts.basis), **_NMF)
    factors.components_ = concepts.basis.astype(flat.dtype)
    factors.n_components_ = len(concepts.basis)
    return factors.transform(flat).reshape(*activations.shape[:3], -1).astype(np.float32)


def concept_importance(
    model: Model, concepts: Concepts, images: np.ndarray, *, samples: int = 16, seed: int = 0
) -> pd.DataFrame:
    """Compute the share of the variance of the log-odds that each concept takes part in.

    The concepts of all positions of a patch are scaled by random factors from 0 to 1; what they do
    not explain stays. Total Sobol indices, by SciPy, of each patch; 0 where nothing changes.

    Parameters
    ----------
    model : Model, with a head
    concepts : Concepts
    images : array, (N, H, W, 3), uint8
    samples : int
        Points of Sobol's sequence, a power of 2; the rest of the network runs ``samples * (K + 2)``
        times per patch.
    seed : int

    Returns
    -------
    DataFrame, N rows, one column per concept, from 0
    """
    if samples < 2 or samples & (samples - 1):
        raise ValueError(f"samples is {samples}; expected a power of 2, at least 2.")
    rest = tf.function(_rest(model, concepts.layer))
    count, rows = len(concepts.basis), []
    batches = model.map(read_activations, concepts.layer, images=images, batch_size=1)
    for batch in progress_bar(batches, desc="importance", total=len(images), unit="patch"):
        activations = batch.numpy()
        coefficients = _project(concepts, activations)[0]
        parts = np.einsum("hwk,kc->khwc", coefficients, concepts.basis)

        def log_odds(factors: np.ndarray, parts=parts, activations=activations) -> np.ndarray:
            left_out = np.tensordot(np.float32(factors.T - 1), parts, axes=1)
            chunks = [(activations + left_out[i : i + 64]) for i in range(0, len(left_out), 64)]
            return np.concatenate([rest(tf.constant(chunk)).numpy() for chunk in chunks])

        generator = np.random.default_rng(seed)
        dists = [uniform()] * count
        with np.errstate(divide="ignore", invalid="ignore"):
            indices = sobol_indices(func=log_odds, n=samples, dists=dists, rng=generator)
        rows.append(np.nan_to_num(np.ravel(indices.total_order), posinf=0, neginf=0))
    return pd.DataFrame(rows)


def _rest(model: Model, layer: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Make the function from activations of a layer to the log-odds of tumor."""
    try:
        network = keras.Model(model.layer(layer).output, model.logit)
    except ValueError as error:
        raise ValueError(
            f"the log-odds do not depend on {layer} alone, since other layers lead around it: "
            "choose the end of a block."
        ) from error
    return lambda activations: network(activations, training=False)


def name_concepts(maps: np.ndarray, measures: pd.DataFrame) -> pd.DataFrame:
    """Name concepts by the measured concept with which they correlate most.

    Parameters
    ----------
    maps : array, (N, h, w, K)
        From `concept_maps`, whose means over positions are compared.
    measures : DataFrame, N rows, one column per measured concept

    Returns
    -------
    DataFrame, one row per concept
        ``name``, and its rank ``correlation`` over patches.
    """
    if twice := measures.columns[measures.columns.duplicated()].tolist():
        raise ValueError(f"measures have columns of the same name: {twice}; rename them.")
    means = pd.DataFrame(maps.mean(axis=(1, 2)))
    both = pd.concat([means, measures.reset_index(drop=True)], axis=1)
    table = both.corr("spearman").loc[means.columns, measures.columns].fillna(0.0)
    names = table.abs().idxmax(axis=1)
    values = [table.loc[concept, name] for concept, name in names.items()]
    return pd.DataFrame({"name": names.to_list(), "correlation": values})
