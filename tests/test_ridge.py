"""Ridge regression in closed form is that of scikit-learn, and rows are left out as by fitting again."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from training.ridge import PENALTIES, fit_ridge


@pytest.mark.parametrize("columns", [4, 50])
def test_weights_and_left_out_predictions_are_those_of_fitting_again(columns: int) -> None:
    """With fewer and with more columns than rows, and with weights of the rows."""
    rng = np.random.default_rng(0)
    x, row_weights = rng.standard_normal((20, columns)), rng.uniform(0.5, 2, 20)
    y = x[:, :2] + rng.standard_normal((20, 2)) + 5
    found = fit_ridge(x, y, row_weights)
    # The function scales weights to a mean of 1; scikit-learn does not.
    weights = row_weights / row_weights.mean()
    expected = Ridge(found.penalty).fit(x, y, weights)
    np.testing.assert_allclose(found.weights, expected.coef_.T, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.intercept, expected.intercept_, rtol=0, atol=1e-9)
    for row in range(20):
        others = np.arange(20) != row
        without = Ridge(found.penalty).fit(x[others], y[others], weights[others])
        np.testing.assert_allclose(found.left_out[row], without.predict(x[row : row + 1])[0], rtol=0, atol=1e-9)


def test_noise_is_penalised_and_a_rule_is_not() -> None:
    """Targets without a relation to the columns have the largest penalty, and an exact rule the smallest."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5))
    ones = np.ones(300)
    assert fit_ridge(x, x[:, :1] * 3, ones).penalty == PENALTIES[0]
    assert fit_ridge(x, rng.standard_normal((300, 1)), ones).penalty > 100


def test_constant_columns_and_targets_have_no_weight() -> None:
    """Nothing is divided by 0."""
    found = fit_ridge(np.ones((10, 3)), np.full((10, 1), 7.0), np.ones(10))
    np.testing.assert_array_equal(found.weights, 0)
    np.testing.assert_allclose(found.left_out, 7, rtol=1e-12)
