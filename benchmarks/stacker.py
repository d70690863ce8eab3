"""One LightGBM stacker on embeddings: our components against raw columns and other peers.

Run: python -m benchmarks.stacker [--quick] [--gate]

Made-up dumps of three backbones: 1,280 float16 numbers and a log-odds each, 81 % fakes, spectra
that fall as those of networks do, a signal spread over 20 directions. One seed, one bag, 30 rounds
at most, all sides on the same rows:

ours       `lightgbm_pca`: from the best simple combiner on, 64 components a backbone, log-odds and
           what we derive from them; the number of rounds from five folds, then all rows
raw        LightGBM with the same settings, threads and way to the number of rounds on all 3,843
           columns in float32
stacking   scikit-learn's StackingClassifier: a logistic regression on each backbone's columns,
           scaled, at most 100 iterations, five folds, and one on their answers
xgboost    hist, 30 rounds, on all columns; where it is installed

They take turns in one process, there and back, and score rows that nobody learned from. Ratios are
medians over the rounds of the other side's / our seconds of fitting. The memory is that of a
process of its own that maps a dump of four such backbones from the disk, fits ours and scores it.
`--gate` (in the full run, too) measures the whole choice at 105,000 rows, with default settings and
92 forensic columns. `--memory` measures memory and scoring alone, at 147,363 rows.
"""

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from features.settings.stacking import Gate, Stack
from features.splits.folds import split_evenly
from stage2_ensemble.columns.columns import Floats, FoldColumns
from stage2_ensemble.gate.gate import hold_gate
from stage2_ensemble.gate.out_of_fold import judge_candidates
from stage2_ensemble.models.boosted import (
    FoldModels,
    build_options,
    find_rounds,
    grow_trees,
    list_steps,
    weigh_rows,
)

BACKBONES, WIDTH, DIRECTIONS = ("a", "b", "c"), 1280, 20
LARGE = (*BACKBONES, "d")
"""Backbones of the dump whose memory is measured: 1.5 GB at 147,363 rows."""
FAKES, HELD, PARTS = 0.81, 10_000, 5
SETTINGS = Stack(bags=1, max_rounds=30, learning_rate=0.1)
GATE_ROWS = 105_000
BLOCK = 8192
Scorer = Callable[[FoldColumns], Floats]


def make_columns(
    rows: int, seed: int = 0, extras: int = 0, backbones: tuple[str, ...] = BACKBONES
) -> FoldColumns:
    """Rows of one fold; the axes of the backbones do not depend on the seed."""
    rng = np.random.default_rng([seed, 1])
    labels = (rng.random(rows) < FAKES).astype(np.int8)
    signs = 2.0 * labels - 1
    spectrum = ((1 + np.arange(WIDTH)) ** -0.6).astype(np.float32)
    embeddings = []
    for place in range(len(backbones)):
        axes = np.random.default_rng(place).normal(size=(WIDTH, WIDTH)).astype(np.float32) / 36
        array = np.empty((rows, WIDTH), np.float16)
        for start in range(0, rows, BLOCK):
            part = slice(start, start + BLOCK)
            inner = rng.standard_normal((len(labels[part]), WIDTH), dtype=np.float32)
            inner[:, :DIRECTIONS] += 0.1 * signs[part, None].astype(np.float32)
            array[part] = (inner * spectrum) @ axes
        embeddings.append(array)
    logits = 0.7 * signs[:, None] + rng.normal(size=(rows, len(backbones)))
    named = tuple(f"forensic:{i}" for i in range(extras))
    values = rng.normal(size=(rows, extras)).astype(np.float32) if extras else None
    return FoldColumns(
        fold=0,
        backbones=backbones,
        row_ids=np.arange(rows),
        logits=logits,
        embeddings=tuple(embeddings),
        labels=labels,
        weights=np.ones(rows),
        groups=np.arange(rows),
        extras=values,
        extra_names=named,
    )


def stack_raw(columns: FoldColumns) -> np.ndarray:
    """`(n, 3 × 1,280 + 3)` float32."""
    parts = [*columns.embeddings, columns.logits]
    return np.concatenate([part.astype(np.float32) for part in parts], axis=1)


def cut(columns: FoldColumns) -> np.ndarray:
    """`(n,)` the five parts that all sides use."""
    return split_evenly(columns.labels, columns.groups, PARTS, 0)


def fit_ours(columns: FoldColumns) -> Scorer:
    """`lightgbm_pca`."""
    return FoldModels.fit([columns], SETTINGS, 0).score


def fit_raw(columns: FoldColumns) -> Scorer:
    """All columns as they are."""
    rows = stack_raw(columns)
    weights, _ = weigh_rows(columns.labels, columns.weights, SETTINGS.class_weight)
    options = build_options(SETTINGS, 0, rows.shape)
    begin = np.zeros(len(rows))  # both classes weigh the same
    data = lightgbm.Dataset(
        rows, columns.labels, weight=weights, init_score=begin, params=options, free_raw_data=False
    )
    steps = list_steps(SETTINGS)
    rounds = find_rounds(data, [cut(columns)], options, SETTINGS.max_rounds, steps)
    booster = grow_trees(data, options, steps, rounds)
    return lambda new: np.asarray(booster.predict(stack_raw(new), raw_score=True))


def fit_stacking(columns: FoldColumns) -> Scorer:
    """scikit-learn's."""
    parts = cut(columns)
    splits = [(np.flatnonzero(parts != k), np.flatnonzero(parts == k)) for k in range(PARTS)]
    members = [
        (
            name,
            make_pipeline(
                FunctionTransformer(_take_backbone, kw_args={"place": place}),
                StandardScaler(),
                LogisticRegression(class_weight="balanced", max_iter=100),
            ),
        )
        for place, name in enumerate(BACKBONES)
    ]
    model = StackingClassifier(members, LogisticRegression(), cv=splits, n_jobs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(stack_raw(columns), columns.labels)
    return lambda new: model.decision_function(stack_raw(new))


def _take_backbone(rows: np.ndarray, place: int) -> np.ndarray:
    """Embedding and log-odds of one."""
    own = rows[:, place * WIDTH : (place + 1) * WIDTH]
    logit = rows[:, len(BACKBONES) * WIDTH + place]
    return np.concatenate([own, logit[:, None]], axis=1)


def fit_xgboost(columns: FoldColumns) -> Scorer:
    """All columns as they are."""
    import xgboost

    model = xgboost.XGBClassifier(
        n_estimators=SETTINGS.max_rounds, learning_rate=0.1, tree_method="hist"
    )
    model.fit(stack_raw(columns), columns.labels)
    return lambda new: model.predict(stack_raw(new), output_margin=True)


SIDES: dict[str, Callable[[FoldColumns], Scorer]] = {
    "ours": fit_ours,
    "raw": fit_raw,
    "stacking": fit_stacking,
}
if importlib.util.find_spec("xgboost"):
    SIDES["xgboost"] = fit_xgboost


def measure_sides(rows: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of fitting and of scoring, and the AUC on new rows, by side and round."""
    learn, new = make_columns(rows), make_columns(HELD, seed=1)
    found: dict[str, dict[str, list[float]]] = {
        name: {"fit": [], "score": [], "auc": []} for name in SIDES
    }
    for number in range(rounds):
        for name, fit in list(SIDES.items())[:: -1 if number % 2 else 1]:
            start = time.perf_counter()
            scorer = fit(learn)
            fitted = time.perf_counter()
            scores = scorer(new)
            found[name]["fit"].append(fitted - start)
            found[name]["score"].append(time.perf_counter() - fitted)
            found[name]["auc"].append(float(roc_auc_score(new.labels, scores)))
    return found


def show_sides(console: Console, found: dict[str, dict[str, list[float]]]) -> None:
    """The table, and the ratios of the rounds."""
    table = Table("side", "fit, s", "rows/s scored", "AUC")
    for name, values in found.items():
        fit, score, auc = (statistics.median(values[key]) for key in ("fit", "score", "auc"))
        table.add_row(name, f"{fit:.1f}", f"{HELD / score:,.0f}", f"{auc:.4f}")
    console.print(table)
    ratios = {"pca_vs_raw_lightgbm": "raw", "stack_vs_sklearn_stacking": "stacking"}
    for ratio, name in ratios.items():
        pairs = zip(found[name]["fit"], found["ours"]["fit"], strict=True)
        print(f"ratio {ratio} {statistics.median(theirs / ours for theirs, ours in pairs):.2f}")


CHILD = """
import re, sys, time
import numpy as np
from dataclasses import replace
from pathlib import Path
from benchmarks.stacker import LARGE, fit_ours, make_columns
folder, rows = Path(sys.argv[1]), int(sys.argv[2])
columns = make_columns(4, backbones=LARGE)
facts = np.load(folder / "facts.npy")
columns = replace(
    columns, row_ids=np.arange(rows), labels=facts[:, 0].astype(np.int8), logits=facts[:, 1:],
    weights=np.ones(rows), groups=np.arange(rows),
    embeddings=tuple(np.load(folder / f"{b}.npy", mmap_mode="r") for b in LARGE),
)
scorer = fit_ours(columns)
start = time.perf_counter()
scorer(columns)
seconds = time.perf_counter() - start
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(peak / 1024, rows / seconds)
"""


def measure_memory(rows: int) -> tuple[float, float, float]:
    """Peak of a process that maps the dump and fits ours, the dump's size (MB), rows/s scored."""
    with tempfile.TemporaryDirectory() as folder:
        columns = make_columns(rows, backbones=LARGE)
        np.save(Path(folder, "facts.npy"), np.column_stack([columns.labels, columns.logits]))
        for name, array in zip(LARGE, columns.embeddings, strict=True):
            np.save(Path(folder, f"{name}.npy"), array)
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
        del columns
        command = [sys.executable, "-c", CHILD, folder, str(rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, rate = map(float, done.stdout.split())
    return peak, size, rate


def measure_gate(rows: int) -> dict[str, Any]:
    """Seconds of the whole choice with default settings, those of all cores, and its verdicts."""
    columns = make_columns(rows, extras=92)
    settings = Stack()
    start, cpu = time.perf_counter(), time.process_time()
    judged = judge_candidates([columns], settings, 0)
    verdicts = hold_gate([columns], judged, settings, Gate(), 0)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    described = [verdict.describe() for verdict in verdicts]
    return {"seconds": seconds, "cpu": cpu, "verdicts": described}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40,000 rows, one round, no gate")
    parser.add_argument("--gate", action="store_true", help="measure the gate alone")
    parser.add_argument("--memory", action="store_true", help="measure the memory alone")
    parser.add_argument("--rows", type=int, help="rows to fit, or of the gate")
    given = parser.parse_args()
    console = Console()
    every = not (given.gate or given.memory)
    if every:
        rows = given.rows or (40_000 if given.quick else 100_000)
        console.print(f"{rows:,} rows, 3 x {WIDTH:,} + 3 columns, {SETTINGS.max_rounds} rounds")
        show_sides(console, measure_sides(rows, 1 if given.quick else 3))
    if every or given.memory:
        rows = 40_000 if given.quick else 147_363
        peak, size, rate = measure_memory(rows)
        print(f"peak_mb stack_{rows} {peak:.0f} ({peak / size:.2f} x a dump of {size:.0f} MB)")
        print(f"rows_per_second stack_score {rate:,.0f}")
    if given.gate or (every and not given.quick):
        rows = given.rows or GATE_ROWS
        found = measure_gate(rows)
        minutes, cpu = found["seconds"] / 60, found["cpu"] / 60
        print(f"gate of {rows:,} rows: {minutes:.1f} minutes, {cpu:.1f} of CPU")
        for verdict in found["verdicts"]:
            print(f"  {verdict}")


if __name__ == "__main__":
    main()
