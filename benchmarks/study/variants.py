"""Variants of the LightGBM stacker, fitted on the same rows, the same basis and the same start."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np

from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.basis import Basis, fit_basis
from stage2_ensemble.columns.columns import Floats, FoldColumns
from stage2_ensemble.columns.feature_matrix import FeatureMatrix
from stage2_ensemble.gate.gate import Verdict, hold_gate
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE, Judged
from stage2_ensemble.models.best_simple import BestSimple, fit_start, split_inner
from stage2_ensemble.models.boosted import (
    Boosted,
    build_options,
    find_rounds,
    gather_rows,
    grow_trees,
    list_steps,
)
from stage2_ensemble.models.candidates import (
    SIMPLE,
    Model,
    Pooled,
    fit_candidate,
    list_fittable,
)
from stage2_ensemble.models.combiners import Mean

FROM_ZERO = "from zero"
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "curves": {"num_leaves": 2, "candidates": ("lightgbm",)},
    FROM_ZERO: {"candidates": ("lightgbm",)},
}
"""What each changes of `stack`; the gate shares its risk among the candidates."""
Key = tuple[str, str]
"""Variant and candidate; of no variant what all are held to."""
Fits = Iterator[tuple[Key, Model]]


class Shares(Mean):
    """The log-odds of the class shares, whatever the networks say."""

    name = "shares"

    def fit(self, logits: Floats, labels: Any, weights: Floats) -> "Shares":
        self.log_odds = float(np.log(labels.mean() / (1 - labels.mean())))
        return self

    def score(self, logits: Floats) -> Floats:
        return np.full(len(logits), self.log_odds)


def list_settings(base: Stack, names: Sequence[str]) -> dict[str, Stack]:
    """Those of each variant."""
    return {name: base.model_copy(update=VARIANTS[name]) for name in names}


def fit_variants(folds: Sequence[FoldColumns], variants: Mapping[str, Stack], seed: int) -> Fits:
    """By variant and candidate; of no variant the best simple combiner and the mean."""
    base = next(iter(variants.values()))
    start, basis = fit_start(folds, base, seed), fit_basis(folds, base, seed)
    yield ("", BEST_SIMPLE), start.best
    yield ("", Mean.name), Pooled(start.combiners[Mean.name])
    for name, settings in variants.items():
        if name == FROM_ZERO:
            yield (name, "lightgbm"), fit_from_zero(folds, settings, seed, basis)
            continue
        for candidate in list_fittable(folds, settings)[len(SIMPLE) :]:
            model = fit_candidate(candidate, folds, settings, seed, basis, start)
            yield (name, candidate), model


def fit_from_zero(
    folds: Sequence[FoldColumns], settings: Stack, seed: int, basis: Basis
) -> Boosted:
    """Trees of many leaves at once, from the log-odds of the class shares."""
    labels, weights, shift = gather_rows(folds, settings)
    shares = Shares().fit(np.empty(0), labels, weights)
    table, rows = FeatureMatrix.fit(folds, settings, False, basis)
    options = build_options(settings, seed, rows.shape)
    begin = np.full(len(labels), shares.log_odds + shift)
    data = lightgbm.Dataset(
        rows, labels, weight=weights, init_score=begin, params=options, free_raw_data=False
    )
    inner_folds = [basis[columns.fold].inner_folds for columns in folds]
    steps = [{name: getattr(settings, name) for name in list_steps(settings)[0]}]
    rounds = find_rounds(data, inner_folds, options, settings.max_rounds, steps)
    seeds = [seed + bag for bag in range(settings.bags)] if sum(rounds) else []
    boosters = [grow_trees(data, options | {"seed": own}, steps, rounds) for own in seeds]
    return Boosted(BestSimple(shares), table, tuple(boosters))


def judge_variants(
    folds: Sequence[FoldColumns], variants: Mapping[str, Stack], seed: int
) -> dict[str, Judged]:
    """By variant its out-of-fold scores, on the parts and by the seeds of `judge_candidates`."""
    once = {name: own.model_copy(update={"bags": 1}) for name, own in variants.items()}
    base = next(iter(once.values()))
    scores: dict[Key, list[Floats]] = {}
    for repeat in range(base.repeats):
        own_seed = seed + 1000 * repeat
        inner_folds = split_inner(folds, base.inner_folds, own_seed)
        for held_out in range(base.inner_folds):
            masks = [inner == held_out for inner in inner_folds]
            rest = [columns.take(~out) for columns, out in zip(folds, masks, strict=True)]
            for key, model in fit_variants(rest, once, own_seed):
                parts = scores.setdefault(key, [np.zeros(len(columns)) for columns in folds])
                for columns, out, part in zip(folds, masks, parts, strict=True):
                    part[out] += model.score(columns.take(out)) / base.repeats
    return {
        name: Judged({key[1]: own for key, own in scores.items() if key[0] in ("", name)}, {})
        for name in variants
    }


def hold_variant(
    name: str, folds: Sequence[FoldColumns], judged: Judged, settings: Stack, gate: Gate, seed: int
) -> list[Verdict]:
    """What the gate says of the candidates of a variant.

    To leave domains out it fits candidates of the project, and `from zero` is none: of domains it
    knows nothing then.
    """
    if name == FROM_ZERO:
        folds = [replace(columns, domains=None, sources=None) for columns in folds]
    return hold_gate(folds, judged, settings, gate, seed)
