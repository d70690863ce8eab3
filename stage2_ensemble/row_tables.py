"""Tables behind figures of single rows: scores by class, answers by label. On the headline rows."""

import numpy as np
import pandas as pd

from stage2_ensemble.conformal import FAKE, REAL, REVIEW

BINS = 40
ENDS = (0.01, 0.99)
"""Quantiles of scores between which bins lie; rows beyond are counted in the last ones."""
HISTOGRAM = ("low", "high", "real", "fake")
CONFUSION = ("label", "real", "fake")


def tabulate_rows(evaluation: pd.DataFrame, has_review: bool) -> dict[str, pd.DataFrame]:
    """`score_histogram` and `confusion` of what ships, by the name of their file."""
    rows = evaluation[evaluation["headline"]]
    return {
        "score_histogram": tabulate_histogram(rows),
        "confusion": tabulate_confusion(rows, has_review),
    }


def tabulate_histogram(rows: pd.DataFrame) -> pd.DataFrame:
    """Bins of log-odds of equal width, and how many rows of each class lie in them."""
    scores = rows["score:stack"].to_numpy()
    low, high = np.quantile(scores, ENDS)
    if low == high:
        low, high = low - 1.0, high + 1.0
    edges = np.linspace(low, high, BINS + 1)
    counts = [
        np.histogram(np.clip(scores[rows["label"] == label], low, high), edges)[0]
        for label in (0, 1)
    ]
    return pd.DataFrame(dict(zip(HISTOGRAM, (edges[:-1], edges[1:], *counts), strict=True)))


def tabulate_confusion(rows: pd.DataFrame, has_review: bool) -> pd.DataFrame:
    """Rows by label (one line each) and answer (one column each)."""
    answers = [REAL, FAKE, *([REVIEW] if has_review else [])]
    counts = [
        {"label": name, **{a: int((own == a).sum()) for a in answers}}
        for name, own in (
            (name, rows["decision"][rows["label"] == label])
            for label, name in enumerate((REAL, FAKE))
        )
    ]
    return pd.DataFrame(counts)
