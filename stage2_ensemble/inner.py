"""Inner out-of-fold scores: how every candidate does on rows that it was not fitted on.

A fitted stacker has seen its fold's labels, so thresholds and choices use these scores instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from features.splits import split_evenly
from features.stack_params import Stack
from stage2_ensemble.columns import Floats, FoldColumns, check_fittable
from stage2_ensemble.combiners import COMBINERS, Combiner
from stage2_ensemble.ensemble import LIGHTGBM
from stage2_ensemble.stacker import Stacker, find_rounds, fit_stacker

Parts = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Fitted:
    """The candidates fitted on all fold rows, and their inner out-of-fold scores by fold."""

    combiners: dict[str, Combiner]
    stackers: dict[int, Stacker]
    scores: dict[str, list[Floats]]
    rounds: dict[int, int]


def split_inner(folds: Sequence[FoldColumns], parts: int, seed: int) -> list[Parts]:
    """For each fold `(n,)` parts of its rows, by group."""
    for columns in folds:
        check_fittable(columns)
    return [split_evenly(c.labels, c.groups, parts, seed + c.fold) for c in folds]


def fit_combiner(kind: type[Combiner], folds: Sequence[FoldColumns]) -> Combiner:
    """One pooled combiner on the rows of all folds."""
    logits = np.concatenate([columns.logits for columns in folds])
    labels = np.concatenate([columns.labels for columns in folds])
    weights = np.concatenate([columns.weights for columns in folds])
    return kind().fit(logits, labels, weights)


def score_combiner(
    kind: type[Combiner], folds: Sequence[FoldColumns], parts: Sequence[Parts]
) -> list[Floats]:
    """Inner out-of-fold scores of a pooled combiner: part j of all folds is held out at once."""
    folds = [replace(columns, embeddings=()) for columns in folds]  # unused here, and large
    scores = [np.empty(len(columns)) for columns in folds]
    for held in range(int(parts[0].max()) + 1):
        rest = [c.take(part != held) for c, part in zip(folds, parts, strict=True)]
        combiner = fit_combiner(kind, rest)
        for columns, part, score in zip(folds, parts, scores, strict=True):
            score[part == held] = combiner.score(columns.logits[part == held])
    return scores


def score_stacker(
    columns: FoldColumns, parts: Parts, settings: Stack, seed: int
) -> tuple[Floats, int]:
    """Inner out-of-fold scores of one fold's stacker, and the rounds for the stacker on all rows.

    For each part held out, another one stops the boosting; the held-out rows score for neither.
    """
    scores = np.empty(len(columns))
    count = int(parts.max()) + 1
    chosen = []
    for held in range(count):
        stop = parts == (held + 1) % count
        rest = parts != held
        learn, judge = columns.take(rest & ~stop), columns.take(stop)
        chosen.append(find_rounds(learn, judge, settings, seed))
        stacker = fit_stacker(columns.take(rest), settings, seed, chosen[-1])
        scores[parts == held] = stacker.score(columns.take(parts == held))
    return scores, round(float(np.median(chosen)))


def fit_candidates(folds: Sequence[FoldColumns], settings: Stack, seed: int) -> Fitted:
    """Every candidate, fitted on all fold rows, with its inner out-of-fold scores."""
    parts = split_inner(folds, settings.inner_folds, seed)
    combiners = {name: fit_combiner(kind, folds) for name, kind in COMBINERS.items()}
    scores = {name: score_combiner(kind, folds, parts) for name, kind in COMBINERS.items()}
    stackers, rounds = {}, {}
    scores[LIGHTGBM] = []
    for columns, part in zip(folds, parts, strict=True):
        held_out, rounds[columns.fold] = score_stacker(columns, part, settings, seed)
        scores[LIGHTGBM].append(held_out)
        stackers[columns.fold] = fit_stacker(columns, settings, seed, rounds[columns.fold])
    return Fitted(combiners, stackers, scores, rounds)


def measure_auc(folds: Sequence[FoldColumns], scores: Sequence[Floats]) -> list[float]:
    """AUC within each fold; scores of different folds come from different models."""
    return [float(roc_auc_score(c.labels, s)) for c, s in zip(folds, scores, strict=True)]
