"""Linear log-odds with the least log loss: few columns, any number of rows.

coefficients = fit_log_odds(columns, targets, weights)   # (c,)
"""

import numpy as np
from scipy.special import expit

from stage2_ensemble.columns.columns import Floats, Labels

MOST_STEPS = 100
MOST_HALVINGS = 30
CLOSE = 1e-12
"""A step that lowers the log loss by less is the last one: the next would lower it by its square,
which no sum of floats can tell."""


def fit_log_odds(
    columns: Floats,
    targets: Floats | Labels,
    weights: Floats,
    *,
    penalties: Floats | float = 0.0,
    offset: Floats | float = 0.0,
) -> Floats:
    """`(c,)` coefficients of `(n, c)` columns, which add to an `(n,)` offset, by Newton's method.

    They minimise the mean weighted log loss against `(n,)` targets from 0 to 1, plus half of
    `penalties`, a column each, times the coefficients' squares. Of columns that say nothing, or the
    same, they are the smallest ones. Sums go row by row: no threads, so the same with any number of
    cores.
    """
    weights = weights / weights.sum()
    coefficients = np.zeros(columns.shape[1])
    penalties = np.broadcast_to(penalties, coefficients.shape)

    def measure(coefficients: Floats) -> tuple[float, Floats]:
        odds = offset + np.einsum("nc,c->n", columns, coefficients)
        losses = np.logaddexp(0.0, odds) - targets * odds
        loss = np.einsum("n,n->", weights, losses) + penalties @ coefficients**2 / 2
        return float(loss), odds

    loss, odds = measure(coefficients)
    for _ in range(MOST_STEPS):
        chances = expit(odds)
        weighed = columns * weights[:, None]
        gradient = np.einsum("nc,n->c", weighed, chances - targets) + penalties * coefficients
        weighed *= (chances * (1 - chances))[:, None]
        curvature = np.einsum("nc,nd->cd", weighed, columns) + np.diag(penalties)
        step = np.linalg.lstsq(curvature, gradient)[0]
        if gradient @ step < CLOSE:
            return np.asarray(coefficients - step)
        for _ in range(MOST_HALVINGS):
            lower, odds = measure(coefficients - step)
            if lower <= loss:
                break
            step /= 2
        coefficients, loss = coefficients - step, lower
    return coefficients
