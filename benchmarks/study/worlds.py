"""Made-up worlds whose signal is known: `benchmarks.stacker_study` says what each kind is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.study.variants import fit_variants, hold_variant, judge_variants, list_settings
from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.gate.gate import choose_shipped
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE

KINDS = ("nothing", "noise", "additive", "interaction", "strong", "few", "many")
ROWS = {"few": 200, "interaction": 2_000, "many": 20_000}
FRESH, COLUMNS, WIDTH, FAKES = 10_000, 20, 16, 0.8
BACKBONES = ("a", "b", "c")
BASE = Stack(repeats=1, bags=1)
FIELDS = ("kind", "world", "variant", "ships", "simple", "added", "shipped")
"""Of a line of results: what shipped, if anything; the AUC of the best simple combiner on fresh
rows; what LightGBM adds to it, and what the one that shipped does."""


def make_world(kind: str, seed: int, rows: int, fresh: bool) -> FoldColumns:
    """Rows of one fold; those to learn from and the `fresh` ones differ by their draws alone."""
    rng = np.random.default_rng([KINDS.index(kind), seed, int(fresh)])
    labels = (rng.random(rows) < FAKES).astype(np.int8)
    labels[:10], labels[10:20] = 0, 1
    signs = 2.0 * labels - 1
    if kind == "nothing":
        signs = 2.0 * rng.integers(2, size=rows) - 1
    strengths = np.random.default_rng([seed, 7]).uniform(0.5, 1.1, len(BACKBONES))
    shared = rng.normal(size=(rows, 1))
    noise = np.sqrt(0.3) * shared + np.sqrt(0.7) * rng.normal(size=(rows, len(BACKBONES)))
    columns = rng.normal(size=(rows, COLUMNS))
    strength = np.tile(strengths, (rows, 1))
    if kind in ("additive", "few", "many"):
        columns[:, :2] += 0.2 * signs[:, None]
        columns[:, 2:4] *= np.exp(0.2 * signs[:, None])
    elif kind == "strong":
        columns[:, :4] += 0.5 * signs[:, None]
    elif kind == "interaction":
        strength[:, 0] *= np.where(columns[:, 0] > 0, 2.0, 0.0)
        columns[:, 1] = (
            np.abs(columns[:, 1])
            * np.sign(columns[:, 2])
            * np.where(rng.random(rows) < 0.65, signs, -signs)
        )
    logits = 1.5 * (strength * signs[:, None] + noise)
    inner = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    inner[:, 0] += logits[:, 0]
    return FoldColumns(
        fold=0,
        backbones=BACKBONES,
        row_ids=np.arange(rows),
        logits=logits,
        embeddings=tuple(np.roll(inner, i, axis=1).astype(np.float16) for i in range(3)),
        labels=labels,
        weights=np.ones(rows),
        groups=np.arange(rows),
        extras=columns.astype(np.float32),
        extra_names=tuple(f"forensic:made:{i}" for i in range(COLUMNS)),
    )


def run_world(kind: str, seed: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """What came of each variant: a line of `FIELDS`."""
    learn = [make_world(kind, seed, ROWS.get(kind, 600), fresh=False)]
    new = make_world(kind, seed, FRESH, fresh=True)
    variants = list_settings(BASE, names)
    judged = judge_variants(learn, variants, seed)
    truth = {
        key: float(roc_auc_score(new.labels, model.score(new)))
        for key, model in fit_variants(learn, variants, seed)
    }
    simple, found = truth["", BEST_SIMPLE], []
    for name, settings in variants.items():
        verdicts = hold_variant(name, learn, judged[name], settings, Gate(), seed)
        ships = choose_shipped(verdicts, "")
        shipped = truth[name, ships] - simple if ships else 0.0
        added = truth[name, "lightgbm"] - simple
        values = (kind, seed, name, ships, simple, added, shipped)
        found.append(dict(zip(FIELDS, values, strict=True)))
    return found
