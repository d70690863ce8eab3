"""Group bootstrap of an AUC: counts over scores sorted once, against a loop over scikit-learn's.

Run: python -m benchmarks.resampling [--quick]

147,363 rows of the size of the reference val set, 88,281 of them fakes, in groups of 1 to 3. Each
way starts from the seed: it draws the counts of the groups, the same ones, and measures the AUC of
every resample. Ours sorts once a round; the peers call `roc_auc_score` on each resample, with the
counts as weights or on the rows themselves, repeated. They take turns in one process, and must find
the same AUCs. The ratio is the median over the rounds of the faster peer's / our seconds. The
last table is what `evaluate` pays for one model: all metrics of 1,000 resamples.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.measures.resampling import (
    CHUNK,
    RESAMPLES,
    Groups,
    draw_counts,
    index_groups,
    measure_resamples,
    rank_rows,
)

ROWS, FAKES = 147_363, 88_281


def make_rows() -> tuple[Labels, Floats, Groups]:
    """Labels, scores of an AUC of 0.86, and groups of 1 to 3 neighbours of any class."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(ROWS) < FAKES).astype(np.int8)
    scores = rng.normal(size=ROWS) + 1.5 * labels
    groups = np.repeat(np.arange(ROWS), rng.integers(1, 4, ROWS))[:ROWS]
    return labels, scores, index_groups(labels, groups)


def resample_ours(
    labels: Labels, scores: Floats, groups: Groups, resamples: int, seed: int
) -> Floats:
    """Sums of counts over scores sorted once."""
    ranking = rank_rows(labels, scores, groups.numbers)
    blocks = draw_counts(groups.count, resamples, max(1, CHUNK // len(labels)), seed)
    return np.concatenate([ranking.weigh(counts).measure_auc() for counts in blocks])


def resample_weighted(
    labels: Labels, scores: Floats, groups: Groups, resamples: int, seed: int
) -> Floats:
    """The peer: counts as sample weights."""
    return np.array(
        [
            roc_auc_score(labels, scores, sample_weight=counts[0][groups.numbers])
            for counts in draw_counts(groups.count, resamples, 1, seed)
        ]
    )


def resample_repeated(
    labels: Labels, scores: Floats, groups: Groups, resamples: int, seed: int
) -> Floats:
    """The peer as it is usually written: rows repeated as often as they were drawn."""
    found = []
    for counts in draw_counts(groups.count, resamples, 1, seed):
        rows = np.repeat(np.arange(len(labels)), counts[0][groups.numbers])
        found.append(roc_auc_score(labels[rows], scores[rows]))
    return np.array(found)


Way = Callable[[Labels, Floats, Groups, int, int], Floats]
WAYS: dict[str, Way] = {
    "ours: counts over scores sorted once": resample_ours,
    "roc_auc_score(sample_weight=counts)": resample_weighted,
    "roc_auc_score(rows repeated)": resample_repeated,
}


def measure_ways(rounds: int, resamples: int) -> dict[str, list[float]]:
    """Seconds of each way, by round; each round has draws of its own."""
    rows = make_rows()
    for way in WAYS.values():  # imports and first calls are nobody's time
        way(*rows, 1, 0)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for seed in range(rounds):
        found = []
        for name, way in WAYS.items():
            start = time.perf_counter()
            found.append(way(*rows, resamples, seed))
            seconds[name].append(time.perf_counter() - start)
        for peer in found[1:]:
            np.testing.assert_allclose(found[0], peer, rtol=0, atol=1e-12)
    return seconds


def main() -> None:
    """Run all ways and print the tables and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer resamples, under a minute")
    rounds, resamples = (3, 100) if parser.parse_args().quick else (10, 100)
    labels, scores, groups = make_rows()
    start = time.perf_counter()
    measured = measure_resamples(labels, scores, groups, threshold=0.75)
    all_metrics = time.perf_counter() - start
    seconds = measure_ways(rounds, resamples)
    console = Console(width=100)
    console.print(
        f"AUC of {rounds} × {resamples} resamples of {groups.count:,} groups, {ROWS:,} rows "
        f"({FAKES:,} fakes), drawing included; medians of {rounds} rounds."
    )
    table = Table("way", "ms a resample", f"s for {RESAMPLES:,}")
    for name, times in seconds.items():
        each = statistics.median(times) / resamples
        table.add_row(name, f"{each * 1e3:.2f}", f"{each * RESAMPLES:.1f}")
    console.print(table)
    console.print(
        f"All {len(measured.values)} metrics of {RESAMPLES:,} resamples: {all_metrics:.1f} s."
    )
    ours, *peers = seconds.values()
    ratios = [min(theirs) / own for own, *theirs in zip(ours, *peers, strict=True)]
    print(f"ratio auc_resample_vs_sklearn {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
