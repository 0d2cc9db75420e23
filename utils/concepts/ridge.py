"""Ridge regression of many targets at once, the penalty of each chosen over groups."""

import numpy as np
from sklearn.model_selection import GroupKFold

from utils.statistics import steady_scaler

PENALTIES = np.logspace(0, 6, 13)  # of standardised features
INNER_FOLDS = 4  # of the choice of the penalty, within each training part


class RidgeFit:
    """Ridge regression of many targets on one training part, penalties chosen over its groups.

    It works on the Gram matrix of the standardised features, whose decomposition serves all
    penalties and targets; the inner parts share the matrix and the scale of the whole part.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, codes: np.ndarray, train: np.ndarray):
        self.scaler = steady_scaler(x[train])
        self.z = self.scaler.transform(x)
        self.train = train
        self.gram = self.z @ self.z[train].T
        inside = np.arange(len(train))
        own = self.gram[train]
        inner = GroupKFold(min(INNER_FOLDS, len(np.unique(codes[train]))))
        errors = np.zeros((len(PENALTIES), y.shape[1]))
        for fit, check in inner.split(inside, groups=codes[train]):
            part = _KernelRidge(own, y[train], fit)
            projected, truth = part.project(check), y[train[check]]
            for index, penalty in enumerate(PENALTIES):
                errors[index] += ((part.predict(projected, penalty) - truth) ** 2).sum(axis=0)
        self.penalties = PENALTIES[errors.argmin(axis=0)]
        self.whole = _KernelRidge(self.gram, y[train], inside, train)

    def predict(self, test: np.ndarray) -> np.ndarray:
        """Predict the targets of some patches, ``(n, T)``."""
        return self.whole.predict(self.whole.project(test), self.penalties)

    def directions(self) -> np.ndarray:
        """Unit vectors in the features' own units, ``(C, T)``."""
        weights = self.z[self.train].T @ self.whole.coefficients(self.penalties)
        weights /= self.scaler.scale_[:, None]
        norm = np.linalg.norm(weights, axis=0)
        return np.divide(weights, norm, out=np.zeros_like(weights), where=norm > 0)


class _KernelRidge:
    """Kernel ridge regression with an intercept, for any penalty after one decomposition.

    Parameters
    ----------
    gram : array, (M, K)
        Inner products of any M patches with the K of the training part.
    y : array, (K, T)
    fit : array
        Which of the K are fitted.
    rows : array, optional
        Which of the M these K are; by default the first K.
    """

    def __init__(self, gram, y, fit, rows=None):
        own = gram[fit if rows is None else rows[fit]][:, fit]
        self.cross, self.column_means, self.mean = gram[:, fit], own.mean(axis=0), own.mean()
        centred = own - self.column_means - self.column_means[:, None] + self.mean
        values, self.vectors = np.linalg.eigh(centred)
        self.values = np.maximum(values, 0)[:, None]
        self.intercept = y[fit].mean(axis=0)
        self.rotated = self.vectors.T @ (y[fit] - self.intercept)

    def coefficients(self, penalty: float | np.ndarray) -> np.ndarray:
        """Weights of the fitted patches, which sum to 0 for each target."""
        return self.vectors @ (self.rotated / (self.values + penalty))

    def project(self, which: np.ndarray) -> np.ndarray:
        """Coordinates of some of the M patches along the decomposition's vectors."""
        cross = self.cross[which]
        cross = cross - cross.mean(axis=1, keepdims=True) - self.column_means + self.mean
        return cross @ self.vectors

    def predict(self, projected: np.ndarray, penalty: float | np.ndarray) -> np.ndarray:
        return projected @ (self.rotated / (self.values + penalty)) + self.intercept
