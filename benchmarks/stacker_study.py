"""Which LightGBM stacker earns its place: how often it ships rightly and wrongly, and the regret.

Run: python -m benchmarks.stacker_study [--worlds 200] [--kinds …] [--variants …] [--out FILE]
Tell: python -m benchmarks.stacker_study --table --out FILE

Made-up worlds whose signal is known, 200 of each kind unless told otherwise; every variant of the
stacker meets the gate on the same rows, and 10,000 fresh rows tell the truth:

nothing      labels are drawn by lot: nobody knows anything
noise        three networks know something, 20 other columns nothing
additive     four of the columns know a little, each by itself
interaction  one network is good only where a column is high; two columns tell by their product
strong       four of the columns know as much as a network
few          as `additive`, on 200 rows
many         as `additive`, on 20,000 rows

The others have 600 rows, `interaction` 2,000, four fifths of them fake. Variants:

default      what ships by default: curves, then trees of 15 leaves, from the best simple combiner;
             with enough rows components of embeddings compete with it
curves       trees of two leaves alone
from zero    trees of 15 leaves that begin at the class shares, as LightGBM does by itself

Out-of-fold scores are of one cut of the rows, not of `stack.repeats`. Told are, with 95 %
intervals or standard errors over worlds: what LightGBM adds to the AUC of the best simple combiner
on fresh rows where nothing is gated; how often something shipped that was worse than that combiner;
of the worlds in which LightGBM is truly better, by more than the gate's margin, those in which
something shipped; and the regret, the AUC that is lost against the better of both.

Worlds that a file of `--out` holds are not run again.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.basis import Basis, fit_basis
from stage2_ensemble.columns.columns import Floats, FoldColumns
from stage2_ensemble.columns.feature_matrix import FeatureMatrix
from stage2_ensemble.gate.gate import choose_shipped, hold_gate
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

KINDS = ("nothing", "noise", "additive", "interaction", "strong", "few", "many")
ROWS = {"few": 200, "interaction": 2_000, "many": 20_000}
FRESH, COLUMNS, WIDTH, FAKES = 10_000, 20, 16, 0.8
BACKBONES = ("a", "b", "c")
BASE = Stack(repeats=1, bags=1)


VARIANTS: dict[str, Stack] = {
    "default": BASE,
    "curves": BASE.model_copy(update={"num_leaves": 2, "candidates": ("lightgbm",)}),
    "from zero": BASE.model_copy(update={"candidates": ("lightgbm",)}),
}
"""What is declared: the gate shares its risk among the candidates."""
FIELDS = ("kind", "world", "variant", "ships", "simple", "added", "shipped")
"""Of a line of results: what shipped, if anything; the AUC of the best simple combiner on fresh
rows; what LightGBM adds to it, and what the one that shipped does."""


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
    """What came of each variant: a line of `FIELDS`."""
    learn = make_world(kind, seed, ROWS.get(kind, 600), fresh=False)
    new = make_world(kind, seed, FRESH, fresh=True)
    (inner_folds,) = split_inner([learn], BASE.inner_folds, seed)
    scores: dict[tuple[str, str], Floats] = {}
    for held_out in range(BASE.inner_folds):
        out = inner_folds == held_out
        for key, model in _fit(learn.take(~out), names, seed):
            scores.setdefault(key, np.empty(len(learn)))[out] = model.score(learn.take(out))
    truth = {
        key: float(roc_auc_score(new.labels, model.score(new)))
        for key, model in _fit(learn, names, seed)
    }
    simple, found = truth["", BEST_SIMPLE], []
    for name in names:
        judged = {candidate: [own] for (of, candidate), own in scores.items() if of in ("", name)}
        verdicts = hold_gate([learn], Judged(judged, {}), VARIANTS[name], Gate(), seed)
        ships = choose_shipped(verdicts, "")
        shipped = truth[name, ships] - simple if ships else 0.0
        added = truth[name, "lightgbm"] - simple
        values = (kind, seed, name, ships, simple, added, shipped)
        found.append(dict(zip(FIELDS, values, strict=True)))
    return found


def _fit(
    rows: FoldColumns, names: Sequence[str], seed: int
) -> Iterator[tuple[tuple[str, str], Model]]:
    """By variant and candidate, on one basis and one start; of no variant what all are held to."""
    start, basis = fit_start([rows], BASE, seed), fit_basis([rows], BASE, seed)
    yield ("", BEST_SIMPLE), start.best
    yield ("", Mean.name), Pooled(start.combiners[Mean.name])
    for name in names:
        settings = VARIANTS[name]
        if name == "from zero":
            yield (name, "lightgbm"), fit_from_zero(rows, settings, seed, basis)
            continue
        for candidate in list_fittable([rows], settings)[len(SIMPLE) :]:
            model = fit_candidate(candidate, [rows], settings, seed, basis, start)
            yield (name, candidate), model


def fit_from_zero(columns: FoldColumns, settings: Stack, seed: int, basis: Basis) -> Boosted:
    """Trees of many leaves at once, from the log-odds of the class shares."""
    start = BestSimple(Shares().fit(columns.logits, columns.labels, columns.weights))
    table, rows = FeatureMatrix.fit([columns], settings, False, basis)
    labels, weights, shift = gather_rows([columns], settings)
    options = build_options(settings, seed, rows.shape)
    begin = start.score(columns) + shift
    data = lightgbm.Dataset(rows, labels, weight=weights, init_score=begin, params=options)
    steps = [{name: getattr(settings, name) for name in list_steps(settings)[0]}]
    rounds = find_rounds(data, [basis[0].inner_folds], options, settings.max_rounds, steps)
    boosters = (grow_trees(data, options, steps, rounds),) if sum(rounds) else ()
    return Boosted(start, table, boosters)


def tell(found: pd.DataFrame) -> str:
    """A table in Markdown: a line for each kind and variant."""
    lines = [
        "| world | worlds | variant | adds | ships wrongly | ships where better | regret |",
        "|---|---|---|---|---|---|---|",
    ]
    places = {name: place for place, name in enumerate((*KINDS, *VARIANTS))}
    found = found.sort_values(["kind", "variant"], key=lambda names: names.map(places))
    for (kind, variant), own in found.groupby(["kind", "variant"], sort=False):
        ships, better = own["ships"].fillna("") != "", own["added"] > Gate().margin
        wrong = int((ships & (own["shipped"] < 0)).sum())
        low, high = binomtest(wrong, len(own)).proportion_ci()
        regret = np.maximum(own["added"], 0) - own["shipped"]
        values = (
            kind,
            len(own),
            variant,
            f"{own['added'].mean():+.4f} ± {own['added'].sem():.4f}",
            f"{wrong}: {wrong / len(own):.1%} [{low:.1%}, {high:.1%}]",
            f"{int((ships & better).sum())} of {int(better.sum())}",
            f"{regret.mean():.4f} ± {regret.sem():.4f}",
        )
        lines.append("| " + " | ".join(map(str, values)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=200, help="of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("stacker_study.csv"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="run nothing, print what is there")
    parser.add_argument("--quick", action="store_true", help="one world of two kinds, kept nowhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.quick:
            given.worlds, given.kinds, given.out = 1, "additive,few", Path(folder) / "study.csv"
        if not given.table:
            run(given)
        print(tell(pd.read_csv(given.out)))


def run(given: argparse.Namespace) -> None:
    """Runs what the file of results lacks."""
    done: set[tuple[str, int, str]] = set()
    if given.out.exists():
        known = pd.read_csv(given.out)
        done = set(zip(known["kind"], known["world"], known["variant"], strict=True))
    tasks = []
    for world in range(given.worlds):
        for kind in given.kinds.split(","):
            names = [n for n in given.variants.split(",") if (kind, world, n) not in done]
            if names:
                tasks.append((kind, world, names))
    running = Parallel(given.jobs, return_as="generator_unordered")(
        delayed(run_world)(*task) for task in tasks
    )
    with given.out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not done:
            writer.writeheader()
        for number, found in enumerate(running, 1):
            writer.writerows(found)
            file.flush()
            print(f"\r{number} of {len(tasks)} worlds", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
