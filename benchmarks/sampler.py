"""Drawing one epoch in batches of 1,024, from 10^4 to 10^8 rows: time, and memory at 10^8.

Run: python -m benchmarks.sampler [--quick]

81 % of the rows are fakes. Each way starts from the labels: it builds what it needs, then draws as
many rows as there are, cut into whole batches. All ways of a size take turns in one process; a
ratio is the median over the rounds of the peer's / our seconds. Memory is all that a fresh process
has ever held (`VmHWM`), which imports NumPy and our sampler alone, makes the labels, and draws
balanced batches; it has permuted both classes by then.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from features.settings.learning import Sampling
from stage1_cnn.sampling.samplers import Candidates, build_batches

Labels = npt.NDArray[np.int8]
BATCH = 1024
REFERENCE, LARGE, HUGE = 524_429, 10_000_000, 100_000_000
"""Rows of the reference data; rows at which the permutation is compared; rows of the peak."""
PEAK_BATCHES = 500


def make_labels(n: int) -> Labels:
    """`(n,)`, 1 = fake, 0 = real."""
    draws = np.random.default_rng(0).integers(0, 100, n, dtype=np.int8)
    return (draws < 81).view(np.int8)


def draw_balanced(labels: Labels) -> int:
    """Ours: each class permuted within, exact ratio in each batch."""
    return _iterate(Candidates(labels), Sampling())


def draw_weighted(labels: Labels) -> int:
    """Ours: systematic sampling by the weights that balance the classes."""
    return _iterate(Candidates(labels, weigh_rows(labels)), Sampling(mode="weighted"))


def _iterate(candidates: Candidates, sampling: Sampling) -> int:
    batches = build_batches(candidates, sampling, BATCH, seed=0)
    return _count(batches.batch(step) for step in range(len(batches)))


def weigh_rows(labels: Labels) -> npt.NDArray[np.float64]:
    """One over the size of a row's class, `(n,)`."""
    return (1 / np.bincount(labels, minlength=2))[labels]


def draw_by_torch(labels: Labels) -> int:
    """The peer: WeightedRandomSampler, weights vectorised, cut into batches by BatchSampler."""
    return _draw_by_torch(weigh_rows(labels))


def draw_as_noted(labels: Labels) -> int:
    """The note's loop: weights by iterrows and np.append, then WeightedRandomSampler."""
    import pandas as pd

    table = pd.DataFrame({"img_name": [f"{i}.jpg" for i in range(len(labels))], "target": labels})
    counts, weights = table["target"].value_counts(), np.array([])
    for _, row in table.iterrows():
        weights = np.append(weights, 1 / counts[row["target"]])
    return _draw_by_torch(weights)


def _draw_by_torch(weights: npt.NDArray[np.float64]) -> int:
    # Late: the process whose memory is measured imports this module, and must not pay for torch.
    import torch
    from torch.utils.data import BatchSampler, WeightedRandomSampler

    torch.set_num_threads(1)
    sampler = WeightedRandomSampler(torch.from_numpy(weights), len(weights), replacement=True)
    return _count(BatchSampler(sampler, BATCH, drop_last=True))


def draw_by_choice(labels: Labels) -> int:
    """The peer: Generator.choice with replacement by vectorised weights."""
    weights = weigh_rows(labels)
    rng, n = np.random.default_rng(0), len(labels)
    return _count(_cut(rng.choice(n, n, p=weights / weights.sum())))


def draw_permutation(labels: Labels) -> int:
    """The floor: one permutation of all rows, which balances nothing."""
    return _count(_cut(np.random.default_rng(0).permutation(len(labels))))


def _cut(rows: npt.NDArray[np.int64]) -> Iterable[npt.NDArray[np.int64]]:
    return (rows[i * BATCH : (i + 1) * BATCH] for i in range(len(rows) // BATCH))


def _count(batches: Iterable[Any]) -> int:
    return sum(len(batch) for batch in batches)


@dataclass(frozen=True)
class Way:
    """A way to draw, and the most rows that it is given: beyond them it takes minutes."""

    title: str
    draw: Callable[[Labels], int]
    most: int = HUGE
    most_quick: int = LARGE


WAYS = {
    "balanced": Way("ours, balanced", draw_balanced),
    "weighted": Way("ours, weighted", draw_weighted, most_quick=REFERENCE),
    "torch": Way("WeightedRandomSampler + BatchSampler", draw_by_torch, most_quick=REFERENCE),
    "choice": Way("Generator.choice(p=…), cut", draw_by_choice, LARGE, REFERENCE),
    "note": Way("iterrows + np.append, as noted", draw_as_noted, 10_000, 10_000),
    "permutation": Way("rng.permutation(n), cut: the floor", draw_permutation),
}
RATIOS = {
    "sampler_vs_weighted_random": ("torch", REFERENCE),
    "sampler_vs_permutation": ("permutation", LARGE),
}
Seconds = dict[str, list[float]]


def measure_size(n: int, rounds: int, quick: bool) -> tuple[Seconds, dict[str, str]]:
    """Seconds of each way that is given `n` rows, by round, and why others refuse them."""
    labels = make_labels(n)
    ways = {key: w for key, w in WAYS.items() if n <= (w.most_quick if quick else w.most)}
    seconds: Seconds = {key: [] for key in ways}
    refusals: dict[str, str] = {}
    # One short round before: imports and first calls are nobody's time.
    for way in ways.values():
        way.draw(labels[:BATCH])
    for _ in range(rounds):
        for key, way in ways.items():
            start = time.perf_counter()
            try:
                drawn = way.draw(labels)
            except RuntimeError as error:
                if "2^24" not in str(error):
                    raise
                refusals[key] = "refuses > 2^24"
                continue
            seconds[key].append(time.perf_counter() - start)
            assert drawn == max(1, n // BATCH) * BATCH, f"{key} drew {drawn} rows"
    return seconds, refusals


def measure_peak() -> tuple[float, float]:
    """MB at most, and seconds, of labels and the first balanced batches of 10^8 rows."""
    start = time.perf_counter()
    batches = build_batches(Candidates(make_labels(HUGE)), Sampling(), BATCH, seed=0)
    _count(batches.batch(step) for step in range(PEAK_BATCHES))
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return peak, time.perf_counter() - start


def run_alone(run: Callable[[], Any]) -> Any:
    """What `run` returns, from a fresh process, which holds nothing of this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run).result()


def describe(seconds: Seconds, refusals: dict[str, str], key: str) -> str:
    """A cell of the table."""
    if key in refusals:
        return refusals[key]
    return f"{statistics.median(seconds[key]):.2g}" if key in seconds else "–"


def main() -> None:
    """Run all sizes and print the table, the ratios and the peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, under a minute")
    quick = parser.parse_args().quick
    rounds = {10_000: 5, REFERENCE: 7, LARGE: 5}
    if not quick:
        rounds = {10_000: 5, 100_000: 5, REFERENCE: 11, 1_000_000: 5, LARGE: 5, HUGE: 1}
    peak, peak_seconds = run_alone(measure_peak)
    runs = {n: measure_size(n, count, quick) for n, count in rounds.items()}
    table = Table("seconds", *(f"{n:,}" for n in runs))
    for key, way in WAYS.items():
        table.add_row(way.title, *(describe(*run, key) for run in runs.values()))
    console = Console(width=120)
    console.print(
        f"An epoch of n draws in batches of {BATCH:,}, 81 % fakes, one thread, medians of "
        f"{', '.join(map(str, rounds.values()))} rounds; –: not run at that size. The first "
        f"{PEAK_BATCHES} balanced batches of {HUGE:,} rows took {peak_seconds:.1f} s with labels."
    )
    console.print(table)
    for name, (peer, n) in RATIOS.items():
        pairs = zip(runs[n][0][peer], runs[n][0]["balanced"], strict=True)
        print(f"ratio {name} {statistics.median(theirs / ours for theirs, ours in pairs):.2f}")
    print(f"peak_mb sampler_1e8 {peak:.0f}")


if __name__ == "__main__":
    main()
