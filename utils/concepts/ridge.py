"""Ridge regression of many targets at once, the penalty of each chosen over groups."""

import numpy as np
from sklearn.model_selection import GroupKFold

PENALTIES = np.logspace(0, 6, 13)  # of standardised features
INNER_FOLDS = 4  # of the choice of the penalty, within each training part


def choose_penalties(z: np.ndarray, y: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Choose the penalty of each target, ``(T,)``, by cross-validation over groups."""
    errors = np.zeros((len(PENALTIES), y.shape[1]))
    folds = GroupKFold(min(INNER_FOLDS, len(np.unique(codes))))
    for train, test in folds.split(z, groups=codes):
        ridge = Ridge(z[train], y[train])
        projected = ridge.project(z[test])
        for index, penalty in enumerate(PENALTIES):
            errors[index] += ((ridge.predict(projected, penalty) - y[test]) ** 2).sum(axis=0)
    return PENALTIES[errors.argmin(axis=0)]


class Ridge:
    """Ridge regression of many targets, for any penalty after one eigendecomposition.

    It decomposes the covariance of the features, or the Gram matrix of the patches where these are
    fewer.
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

    def coefficients(self, penalties: float | np.ndarray) -> np.ndarray:
        """Weights of the axes, for one penalty or one per target."""
        return self.rotated / (self.values + penalties)

    def project(self, z: np.ndarray) -> np.ndarray:
        """Coordinates of patches along the axes."""
        return (z - self.mean) @ self.axes

    def predict(self, projected: np.ndarray, penalties: float | np.ndarray) -> np.ndarray:
        """Predict the targets of projected patches, ``(n, T)``."""
        return projected @ self.coefficients(penalties) + self.intercept
