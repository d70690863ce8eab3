"""Scores whose true log-odds are known: normal in each class, with groups that share a part."""

import numpy as np
from scipy.special import logit

from stage2_ensemble.decisions.scored_rows import ChoiceRows, RowScores, ValRows


def draw_odds(
    n: int, prior: float, distance: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`(n,)` labels and true log-odds at the share of fakes `prior`."""
    labels = (rng.random(n) < prior).astype(np.int8)
    scores = rng.normal(size=n) + (labels - 0.5) * distance
    return labels, distance * scores + logit(prior)


def as_choice(labels, log_odds, groups=None, weights=None) -> ChoiceRows:
    n = len(labels)
    return ChoiceRows(
        row_ids=np.arange(n),
        labels=np.asarray(labels, np.int8),
        log_odds=np.asarray(log_odds, np.float64),
        groups=np.arange(n) if groups is None else np.asarray(groups),
        weights=np.ones(n) if weights is None else np.asarray(weights, np.float64),
    )


def as_val(labels, log_odds, groups=None) -> ValRows:
    held = as_choice(labels, log_odds, groups)
    return ValRows(
        row_ids=held.row_ids, labels=held.labels, log_odds=held.log_odds, groups=held.groups
    )


def as_unlabelled(log_odds, groups=None) -> RowScores:
    n = len(log_odds)
    groups = np.arange(n) if groups is None else groups
    return RowScores(row_ids=np.arange(n), log_odds=log_odds, groups=groups)


def draw_choice(n: int, prior: float = 0.8, distance: float = 3.0, seed: int = 0) -> ChoiceRows:
    return as_choice(*draw_odds(n, prior, distance, np.random.default_rng(seed)))
