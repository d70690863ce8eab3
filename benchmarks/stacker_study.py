"""Which LightGBM stacker earns its place: how often it ships rightly and wrongly, and the regret.

Run: python -m benchmarks.stacker_study [--worlds 200] [--kinds …] [--variants …] [--out FILE]

Made-up worlds whose signal is known, 200 of each kind unless told otherwise; every variant of the
stacker meets the gate on the same rows, and 10,000 fresh rows tell the truth:

nothing      labels are drawn by lot: nobody knows anything
noise        three networks know something, 20 other columns nothing
additive     four of the columns know a little, each by itself
interaction  one network is good only where a column is high; two columns tell by their product
strong       four of the columns know as much as a network
few          as `additive`, on 200 rows
many         as `additive`, on 20,000 rows

The others have 600 rows, `interaction` 2,000, four fifths of them fake. A variant is truly better
where its AUC on fresh rows is above that of the best simple combiner by more than the gate's
margin. Told are: `wrong`, the share of worlds in which it shipped and was worse than the simple
one; `right`, of those where it is truly better, the share in which it shipped; the regret, the mean
AUC that is lost against the better of both; and what the variant adds where nothing is gated.

Worlds that a file of `--out` holds are not run again.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.columns import Floats, FoldColumns
from stage2_ensemble.columns.feature_matrix import fit_basis
from stage2_ensemble.gate.gate import hold_gate
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE, Judged
from stage2_ensemble.models.best_simple import BestSimple, Start, fit_start, split_inner
from stage2_ensemble.models.candidates import fit_candidate
from stage2_ensemble.models.combiners import COMBINERS, Mean

KINDS = ("nothing", "noise", "additive", "interaction", "strong", "few", "many")
ROWS = {"few": 200, "interaction": 2_000, "many": 20_000}
FRESH, COLUMNS, WIDTH, FAKES = 10_000, 20, 16, 0.8
BACKBONES = ("a", "b", "c")
BASE = Stack(repeats=1, bags=1, candidates=("lightgbm",))


@dataclass(frozen=True)
class Variant:
    """One way to stack."""

    settings: Mapping[str, Any]
    candidate: str = "lightgbm"
    from_zero: bool = False
    """Boosting begins at the class shares, as LightGBM does by itself."""


VARIANTS = {
    "stumps": Variant({"num_leaves": 2}),
    "stumps .1": Variant({"num_leaves": 2, "learning_rate": 0.1}),
    "then 15": Variant({"num_leaves": 2, "interaction_leaves": 15}),
    "then 15 .1": Variant({"num_leaves": 2, "interaction_leaves": 15, "learning_rate": 0.1}),
    "then 6 .1": Variant({"num_leaves": 2, "interaction_leaves": 6, "learning_rate": 0.1}),
    "15 leaves": Variant({"num_leaves": 15}),
    "15 leaves .1": Variant({"num_leaves": 15, "learning_rate": 0.1}),
    "15 leaves from zero": Variant({"num_leaves": 15}, from_zero=True),
}


class Shares(Mean):
    """The log-odds of the class shares, whatever the networks say."""

    name = "shares"

    def fit(self, logits: Floats, labels: Any, weights: Floats) -> "Shares":
        self.log_odds = float(np.log(labels.mean() / (1 - labels.mean())))
        return self

    def score(self, logits: Floats) -> Floats:
        return np.full(len(logits), self.log_odds)


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
    """What came of each variant."""
    learn = make_world(kind, seed, ROWS.get(kind, 600), fresh=False)
    new = make_world(kind, seed, FRESH, fresh=True)
    scores = {name: np.empty(len(learn)) for name in (*names, BEST_SIMPLE, "mean")}
    (parts,) = split_inner([learn], BASE.inner_folds, seed)
    for part in range(BASE.inner_folds):
        rest, out = learn.take(parts != part), learn.take(parts == part)
        for name, model in _fit(rest, names, seed):
            scores[name][parts == part] = model.score(out)
    truth = {
        name: float(roc_auc_score(new.labels, model.score(new)))
        for name, model in _fit(learn, names, seed)
    }
    found = []
    for name in names:
        variant = VARIANTS[name]
        settings = _set(variant)
        judged = {variant.candidate: [scores[name]]}
        judged |= {other: [scores[other]] for other in (BEST_SIMPLE, "mean")}
        (verdict,) = hold_gate([learn], Judged(judged, {}), settings, Gate(), seed) or [None]
        if verdict is None:  # too few rows for components
            continue
        found.append(
            {
                "kind": kind,
                "world": seed,
                "variant": name,
                "outcome": verdict.outcome,
                "out_of_fold": verdict.difference,
                "simple": truth[BEST_SIMPLE],
                "auc": truth[name],
            }
        )
    return found


def _set(variant: Variant) -> Stack:
    return BASE.model_copy(update={**variant.settings, "candidates": (variant.candidate,)})


def _fit(rows: FoldColumns, names: Sequence[str], seed: int) -> Iterator[tuple[str, Any]]:
    """The best simple combiner, the mean and every variant, on one basis and one start."""
    start, basis = fit_start([rows], BASE, seed), fit_basis([rows], BASE, seed)
    shares = Shares().fit(rows.logits, rows.labels, rows.weights)
    zero = Start(BestSimple(shares), {0: shares.score(rows.logits)})
    yield BEST_SIMPLE, start.best
    yield "mean", BestSimple(COMBINERS["mean"]())
    for name in names:
        variant = VARIANTS[name]
        begin = zero if variant.from_zero else start
        yield name, fit_candidate(variant.candidate, [rows], _set(variant), seed, basis, begin)


def tell(rows: pd.DataFrame, console: Console) -> None:
    """One line for each kind and variant."""
    table = Table("kind", "variant", "worlds", "wrong", "better", "right", "regret", "added")
    for (kind, variant), own in rows.groupby(["kind", "variant"], sort=False):
        gain = own["auc"] - own["simple"]
        ships, better = own["outcome"] == "won", gain > Gate().margin
        lost = np.maximum(gain, 0) - np.where(ships, gain, 0)
        right = f"{(ships & better).sum() / better.sum():.0%}" if better.any() else ""
        error = 1.96 * gain.std() / np.sqrt(len(own))
        table.add_row(
            kind, variant, str(len(own)), f"{(ships & (gain < 0)).mean():.1%}",
            f"{better.mean():.0%}", right, f"{lost.mean():.4f}",
            f"{gain.mean():+.4f} ± {error:.4f}",
        )  # fmt: skip
    console.print(table)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=200, help="of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--variants", default=";".join(VARIANTS), help="separated by ;")
    parser.add_argument("--out", type=Path, default=Path("stacker_study.csv"))
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    kinds, names = given.kinds.split(","), given.variants.split(";")
    fields = ["kind", "world", "variant", "outcome", "out_of_fold", "simple", "auc"]
    done: set[tuple[str, int, str]] = set()
    if given.out.exists():
        known = pd.read_csv(given.out)
        done = set(zip(known["kind"], known["world"], known["variant"], strict=True))
    tasks = []
    for world in range(given.worlds):
        for kind in kinds:
            left = [name for name in names if (kind, world, name) not in done]
            if left:
                tasks.append((kind, world, left))
    running = Parallel(given.jobs, return_as="generator_unordered")(
        delayed(run_world)(*task) for task in tasks
    )
    with given.out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields)
        if not done:
            writer.writeheader()
        for number, found in enumerate(running, 1):
            writer.writerows(found)
            file.flush()
            print(f"\r{number} of {len(tasks)} worlds", end="", file=sys.stderr)
    tell(pd.read_csv(given.out), Console(width=120))


if __name__ == "__main__":
    main()
