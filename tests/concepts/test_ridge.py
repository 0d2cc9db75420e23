import numpy as np
from sklearn.linear_model import Ridge

from utils.concepts import ridge


def test_primal_and_dual_form_agree():
    """Constant features add nothing, but make them more than the patches, which takes the dual."""
    generator = np.random.default_rng(0)
    z = generator.normal(size=(90, 15)) * generator.uniform(1, 5, 15) + 3
    y, penalties = z @ generator.normal(size=(15, 4)), np.array([1, 10, 100, 1000])
    expected = Ridge(penalties).fit(z, y)
    for features in (z, np.hstack([z, np.full((90, 200), 7.0)])):
        fit = ridge.Ridge(features, y)
        found = fit.predict(fit.project(features), penalties)
        np.testing.assert_allclose(found, expected.predict(z), rtol=1e-6)
        weights = fit.axes @ fit.coefficients(penalties)
        np.testing.assert_allclose(weights[:15], expected.coef_.T, rtol=1e-6)
        assert fit.axes.shape == (features.shape[1], min(features.shape))
