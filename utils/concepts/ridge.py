"""Ridge regression of many targets at once, the penalty of each chosen over groups."""

import numpy as np
from sklearn.model_selection import GroupKFold

from utils.statistics import steady_scaler

PENALTIES = np.logspace(0, 6, 13)  # of standardised features
INNER_FOLDS = 4  # of the choice of the penalty, within each training part


class RidgeFit:
    """Ridge regression of many targets on one training part, penalties chosen over its groups.

    One eigendecomposition serves all penalties and targets, and is never larger than the number of
    features. The inner folds share the scale of the whole training part.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, codes: np.ndarray, train: np.ndarray):
        self.scaler = steady_scaler(x[train].astype(np.float64))
        self.z = np.subtract(x, self.scaler.mean_, dtype=np.float64)
        self.z /= self.scaler.scale_
        self.basis = None
        if len(train) < x.shape[1]:  # weights and training patches span the same subspace
            self.basis = np.linalg.qr(self.z[train].T)[0]
            self.z = self.z @ self.basis
        inner = GroupKFold(min(INNER_FOLDS, len(np.unique(codes[train]))))
        errors = np.zeros((len(PENALTIES), y.shape[1]))
        for fit, check in inner.split(train, groups=codes[train]):
            ridge = _Ridge(self.z[train[fit]], y[train[fit]])
            projected, truth = ridge.project(self.z[train[check]]), y[train[check]]
            for index, penalty in enumerate(PENALTIES):
                errors[index] += ((ridge.predict(projected, penalty) - truth) ** 2).sum(axis=0)
        self.penalties = PENALTIES[errors.argmin(axis=0)]
        self.ridge = _Ridge(self.z[train], y[train])

    def predict(self, test: np.ndarray) -> np.ndarray:
        """Predict the targets of some patches, ``(n, T)``."""
        return self.ridge.predict(self.ridge.project(self.z[test]), self.penalties)

    def directions(self) -> np.ndarray:
        """Return unit vectors in the features' own units, ``(C, T)``."""
        weights = self.ridge.axes @ self.ridge.coefficients(self.penalties)
        if self.basis is not None:
            weights = self.basis @ weights
        weights /= self.scaler.scale_[:, None]
        norm = np.linalg.norm(weights, axis=0)
        return np.divide(weights, norm, out=np.zeros_like(weights), where=norm > 0)


class _Ridge:
    """Ridge regression with an intercept, for any penalty after one eigendecomposition.

    Of the covariance of the features (primal), or of the Gram matrix of the patches where these are
    fewer (dual).
    """

    def __init__(self, z: np.ndarray, y: np.ndarray):
        self.mean, self.intercept = z.mean(axis=0), y.mean(axis=0)
        z, y = z - self.mean, y - self.intercept
        if len(z) > z.shape[1]:
            values, self.axes = np.linalg.eigh(z.T @ z)
            self.rotated = self.axes.T @ (z.T @ y)
        else:
            values, vectors = np.linalg.eigh(z @ z.T)
            self.axes, self.rotated = z.T @ vectors, vectors.T @ y
        self.values = np.maximum(values, 0)[:, None]

    def coefficients(self, penalty: float | np.ndarray) -> np.ndarray:
        """Weights of the axes, for one penalty or one per target."""
        return self.rotated / (self.values + penalty)

    def project(self, z: np.ndarray) -> np.ndarray:
        """Coordinates of patches along the axes."""
        return (z - self.mean) @ self.axes

    def predict(self, projected: np.ndarray, penalty: float | np.ndarray) -> np.ndarray:
        return projected @ self.coefficients(penalty) + self.intercept
