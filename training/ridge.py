"""Ridge regression with its penalty chosen by leave-one-out, in closed form."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: The penalties to choose from.
PENALTIES: Final = np.logspace(-1, 6, 29)
#: Smallest eigenvalue that counts, relative to the largest.
SMALLEST: Final = 1e-10


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge regression: `y = x @ weights + intercept`.

    Attributes:
        weights: `(columns, outputs)`.
        intercept: `(outputs,)`.
        penalty: the chosen factor of the squared weights.
        left_out: `(n, outputs)`, the prediction for each row by the regression without that row.
    """

    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]
    penalty: float
    left_out: NDArray[np.float64]


def fit_ridge(x: NDArray[Any], y: NDArray[Any], row_weights: NDArray[Any]) -> Ridge:
    """Fit a ridge regression with the penalty of the smallest squared error of left-out rows.

    scikit-learn's RidgeCV gives the same, but decomposes x itself. For many rows and 2,000 columns, that takes minutes.

    Source of leaving out in closed form: Golub, Heath and Wahba (1979), "Generalized cross-validation as a method for
    choosing a good ridge parameter".

    Args:
        x: `(n, columns)`.
        y: `(n, outputs)`.
        row_weights: `(n,)`, above 0; the weights of the squared errors.
    """
    share = row_weights / row_weights.sum()
    root = np.sqrt(share * len(share))[:, np.newaxis]
    x_mean, y_mean = share @ x, share @ y
    rows, targets = (x - x_mean) * root, (y - y_mean) * root
    wide = x.shape[0] <= x.shape[1]
    values, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)  # of the smaller product
    kept = values > max(values[-1], 1.0) * SMALLEST
    values, vectors = values[kept], vectors[:, kept]
    left = vectors if wide else rows @ vectors / np.sqrt(values)  # left singular vectors of rows
    projected, squares = left.T @ targets, left**2

    def residuals_of_left_out(penalty: float) -> NDArray[np.float64]:
        shrunk = values / (values + penalty)
        leverage = share + squares @ shrunk
        residuals: NDArray[np.float64] = targets - left @ (shrunk[:, np.newaxis] * projected)
        residuals /= np.maximum(1 - leverage, SMALLEST)[:, np.newaxis]
        return residuals

    penalty = float(min(PENALTIES, key=lambda one: float((residuals_of_left_out(one) ** 2).sum())))
    weights = rows.T @ (left @ (projected / (values + penalty)[:, np.newaxis]))
    return Ridge(weights, y_mean - x_mean @ weights, penalty, y - residuals_of_left_out(penalty) / root)
