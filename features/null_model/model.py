"""Models of what is known of a file besides its pixels, and what they reach on val."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features.artifacts.null_model import NullFindings
from features.core.auc import AucEstimate, measure_auc
from features.core.manifest import Ids, Manifest, count_classes, find_headline_rows
from features.core.manifest_columns import take_columns
from features.null_model.advice import ALL, judge, list_families
from features.null_model.file_facts import (
    AFTER,
    CATEGORIES,
    FAMILIES,
    FILE,
    NAME,
    SOURCES,
    Codes,
    Floats,
    are_saved_alike,
    build_file_facts,
    encode_facts,
    learn_codes,
)
from features.runtime.progress import track

MAX_FITTED = 200_000
"""Train rows that are learned from, at most: half a million rows take half a minute then."""
MAX_PERMUTED = 20_000
BLOCK = 1 << 18
"""Rows of val whose facts lie in memory at once."""
REPEATS = 3
BOOSTING: dict[str, Any] = {"max_iter": 50, "max_leaf_nodes": 8, "early_stopping": False}
"""Small trees, few rounds: twice as many of both overfit a few hundred rows."""
NO_VAL: dict[str, Any] = {
    **AucEstimate(None).to_metrics(),
    "told_apart": None,
    "main_feature": None,
    "families": {},
    "features": [],
    "advice": "nothing is measured: there is no held-out val, because data.final is true",
    "rows": {"fitted": 0, "val": {"reals": 0, "fakes": 0}},
}
"""Facts where there is nothing to measure on."""

Columns = Mapping[str, Floats]


class FactModel:
    """Gradient boosting on some facts; log-odds of fake at equal class shares."""

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self.names = list(names)
        self.seed = seed

    def fit(self, columns: Columns, labels: Floats, weights: Floats) -> Self:
        """Both classes weigh the same; with rows of one class only, all scores are 0."""
        self.model_ = None
        if 0 not in count_classes(labels):
            shares = [weights[labels == y].sum() for y in (0, 1)]
            balanced = weights * np.where(labels == 1, 1 / shares[1], 1 / shares[0])
            is_category = [name in CATEGORIES for name in self.names]
            self.model_ = HistGradientBoostingClassifier(
                **BOOSTING, categorical_features=is_category, random_state=self.seed
            )
            self.model_.fit(self._stack(columns), labels, balanced * len(labels) / 2)
        return self

    def score(self, columns: Columns) -> Floats:
        """`(n,)` log-odds."""
        table = self._stack(columns)
        if self.model_ is None:
            return np.zeros(len(table))
        return np.asarray(self.model_.decision_function(table), np.float64)

    def _stack(self, columns: Columns) -> Floats:
        return np.stack([columns[name] for name in self.names], axis=1)


def measure_null(train: Manifest, val: Manifest, seed: int) -> NullFindings:
    """Fits on train, measures on val: all facts, each family, each fact alone.

    Intervals say how AUCs move with the val rows. `drop` is what an AUC loses where the fact's
    values are permuted among val rows. With `images.equalize` what counts is what it leaves.
    Without val rows (`data.final`) nothing is fitted or measured.
    """
    if not len(val):
        return NullFindings(np.empty(0), NO_VAL)
    equalized = bool((train.read("equalized_bytes") > 0).any())
    rows = np.flatnonzero(find_headline_rows(val))
    # Threads that wait actively: on two busy cores half a million rows took 330 s instead of 40.
    with threadpool_limits(1, "openmp"):
        models, codes = fit_models(train, seed, equalized)
        scores = score_facts(models, val, codes)
        drops = measure_drops(models, codes, val, rows, seed)
    families = {
        name: measure_auc(val.labels[rows], scores[name][rows], val.groups[rows])
        for name in (ALL, *list_families(equalized))
    }
    headline = AFTER if equalized else ALL
    features: list[dict[str, Any]] = [
        {
            "name": name,
            "family": family,
            "auc": measure_auc(val.labels[rows], scores[name][rows], val.groups[rows]).auc,
            "drop": drops[name],
        }
        for family in list_families(equalized)
        for name in FAMILIES[family]
    ]
    features.sort(key=lambda feature: -(feature["auc"] or 0))
    facts = judge(families, features, headline, are_saved_alike(train))
    reals, fakes = count_classes(val.labels[rows])
    counts = {"fitted": min(MAX_FITTED, len(train)), "val": {"reals": reals, "fakes": fakes}}
    return NullFindings(scores[headline], {**facts, "rows": counts})


def fit_models(train: Manifest, seed: int, equalized: bool) -> tuple[dict[str, FactModel], Codes]:
    """A model of all facts, of each family and of each fact, and what stands for categories."""
    drawn = draw_rows(train, seed)
    facts = build_file_facts(take_columns(train, SOURCES, drawn))
    codes = learn_codes([facts])
    columns = encode_facts(facts, codes)
    subsets = {family: FAMILIES[family] for family in list_families(equalized)}
    subsets[ALL] = (*FAMILIES[FILE], *FAMILIES[NAME])
    subsets |= {name: (name,) for names in list(subsets.values()) for name in names}
    labels = train.labels[drawn].astype(np.float64)
    models = {
        key: FactModel(names, seed).fit(columns, labels, train.weights[drawn])
        for key, names in track(subsets.items(), "null model", len(subsets), unit="models")
    }
    return models, codes


def score_facts(models: Mapping[str, FactModel], val: Manifest, codes: Codes) -> dict[str, Floats]:
    """`(n,)` log-odds of all rows, by model."""
    scores = {name: np.empty(len(val)) for name in models}
    for start in range(0, len(val), BLOCK):
        block = slice(start, start + BLOCK)
        columns = encode_facts(build_file_facts(take_columns(val, SOURCES, block)), codes)
        for name, model in models.items():
            scores[name][block] = model.score(columns)
    return scores


def draw_rows(train: Manifest, seed: int) -> Ids:
    """`(m,)` train rows to learn from: all, or `MAX_FITTED` drawn from both classes alike."""
    if len(train) <= MAX_FITTED:
        return np.arange(len(train))
    rng = np.random.default_rng(seed)
    drawn = []
    for label in (0, 1):
        rows = np.flatnonzero(train.labels == label)
        count = round(MAX_FITTED * len(rows) / len(train))
        drawn.append(rng.choice(rows, count, replace=False))
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def measure_drops(
    models: Mapping[str, FactModel], codes: Codes, val: Manifest, rows: Ids, seed: int
) -> dict[str, float | None]:
    """AUC that a fact's model loses, on average, where the fact is permuted among val rows.

    The model is that of all facts, and that of its family for what is left after `images.equalize`.
    """
    rng = np.random.default_rng(seed)
    if len(rows) > MAX_PERMUTED:
        rows = rng.choice(rows, MAX_PERMUTED, replace=False)
    columns = encode_facts(build_file_facts(take_columns(val, SOURCES, rows)), codes)
    labels, groups = val.labels[rows], val.groups[rows]
    drops: dict[str, float | None] = {}
    for key in (ALL, AFTER):
        if key not in models:
            continue
        model = models[key]
        whole = measure_auc(labels, model.score(columns), groups).auc
        title = f"null model, {key}"
        for name in track(model.names, title, len(model.names), unit="facts permuted"):
            values = columns[name]
            permuted = [{**columns, name: rng.permutation(values)} for _ in range(REPEATS)]
            found = [measure_auc(labels, model.score(c), groups).auc or 0 for c in permuted]
            drops[name] = None if whole is None else whole - float(np.mean(found))
    return drops
