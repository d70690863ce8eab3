"""Everything that may ship, under one interface: fitted on fold rows, scores columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from features.core.manifest import count_classes
from features.runtime.progress import track
from features.settings.stacking import Stack
from stage2_ensemble.columns.basis import Basis, fit_basis, list_shared
from stage2_ensemble.columns.columns import Floats, FoldColumns, MemberColumns, check_fittable
from stage2_ensemble.columns.feature_matrix import LEAST_ROWS
from stage2_ensemble.models.best_simple import BestSimple, Start, fit_start, pick_simple
from stage2_ensemble.models.boosted import Boosted, FoldModels
from stage2_ensemble.models.combiners import COMBINERS, Combiner
from stage2_ensemble.models.forest import Forest

SIMPLE = tuple(COMBINERS)
"""From simple to complex; they see nothing but log-odds."""
GATED = ("lightgbm", "lightgbm_pca", "random_forest")
"""They ship only if they beat the best simple one."""
CANDIDATES = (*SIMPLE, *GATED)


class Model(Protocol):
    """A fitted candidate."""

    def score(self, columns: MemberColumns) -> Floats:
        """`(n,)` log-odds of fake, by what the members of one fold say."""
        ...


@dataclass(frozen=True)
class Pooled:
    """A combiner of log-odds, which mean the same in every fold."""

    combiner: Combiner

    def score(self, columns: MemberColumns) -> Floats:
        """See `Model`."""
        return self.combiner.score(columns.logits)


def fit_candidate(
    name: str,
    folds: Sequence[FoldColumns],
    settings: Stack,
    seed: int,
    basis: Basis | None = None,
    start: Start | None = None,
) -> Model:
    """The candidate of this name, fitted on all rows of `folds`.

    `basis` and `start` are those of the same rows, where they are at hand.
    """
    for columns in folds:
        check_fittable(columns)
    if name in COMBINERS and start:
        return Pooled(start.combiners[name])
    if name in COMBINERS:
        logits, labels, weights = (
            np.concatenate([getattr(columns, part) for columns in folds])
            for part in ("logits", "labels", "weights")
        )
        return Pooled(COMBINERS[name]().fit(logits, labels, weights))
    basis = basis or fit_basis(folds, settings, seed)
    if name == "random_forest":
        return Forest.fit(folds, settings, seed, basis)
    start = start or fit_start(folds, settings, seed)
    kind = FoldModels if name == "lightgbm_pca" else Boosted
    return kind.fit(folds, settings, seed, basis, start)


def list_fittable(folds: Sequence[FoldColumns], settings: Stack) -> tuple[str, ...]:
    """Those that the rows suffice for, simple ones first.

    `lightgbm_pca` has nothing of its own where all encoders are frozen: `lightgbm` sees their
    components too, fitted on the rows of all folds.
    """
    for columns in folds:
        check_fittable(columns)
    fewest = min(min(count_classes(columns.labels)) for columns in folds)
    gated = [name for name in GATED if name in settings.candidates]
    own = sum(rows.shape[1] > 0 for rows in folds[0].embeddings) - len(list_shared(folds))
    if fewest < LEAST_ROWS or (folds[0].embeddings and not own):
        gated = [name for name in gated if name != "lightgbm_pca"]
    return (*SIMPLE, *gated)


def fit_candidates(
    names: Sequence[str], folds: Sequence[FoldColumns], settings: Stack, seed: int
) -> tuple[dict[str, Model], BestSimple]:
    """Those of these names, by name, and the simple combiner that the rows would choose.

    What several of them need is fitted once.
    """
    gated = set(names) & set(GATED)
    basis = fit_basis(folds, settings, seed) if gated else None
    start = fit_start(folds, settings, seed) if gated else None
    best = start.best if start else pick_simple(folds, settings, seed)
    models = {
        name: fit_candidate(name, folds, settings, seed, basis, start)
        for name in track(names, "fit candidates", len(names), unit="models")
    }
    return models, best
