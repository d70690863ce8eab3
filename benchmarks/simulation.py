"""All that a run does but look at pictures, up to 10^8 rows: time and memory of each step.

    python -m benchmarks.simulation [--quick] [--rows 100000000] [--folder DIR]

Names, sources and labels are made up: 81 % fakes, 30 % of the rows in groups of 2 to 5. They go
through the project's own functions, step by step, each in a process of its own: groups (by source
and unit), folds and calibration rows, a train manifest written and read (its digest over all
columns, then labels, folds and groups), the draws of an epoch's first batches, a test manifest, the
dump of one member, and the labels of all rows. What the steps leave for each other lies in a
folder: 90 bytes a row at most, 9 GB for 10^8.

`own` is the most memory that was a process's own (`RssAnon`, looked at every 20 ms), `all` with the
pages of files that it has mapped (`VmHWM`), which the system takes back where it is short.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.large.rows import MadeColumns, make_lists, map_texts
from benchmarks.large.watching import measure_alone
from features.artifacts.dumps import Dump, write_dump
from features.core.manifest import NO_FOLD, read_manifest, write_manifest
from features.core.members import Correction, MemberId
from features.splits.folds import assign_folds, check_classes, draw_calibration
from features.splits.groups import build_groups

QUICK, FULL = 100_000, 1_000_000
FOLDS = 5
BATCH, BATCHES = 1024, 1000
MEMBER = MemberId("resnet", 0, "0" * 64, "1" * 64, Correction())


def run_groups(folder: Path) -> None:
    """Rows that share a source or a unit; there are no units."""
    sources = map_texts(folder / "source")
    units = pd.Series(pa.repeat(pa.scalar("", pa.large_string()), len(sources)), dtype="str")
    np.save(folder / "group.npy", build_groups(pd.DataFrame({"source": sources, "unit": units})))


def run_folds(folder: Path) -> None:
    """Folds, and the calibration rows."""
    labels, groups = (np.load(folder / f"{name}.npy") for name in ("label", "group"))
    names = map_texts(folder / "img_name")
    folds = assign_folds(labels, groups, names, FOLDS, seed=0)
    folds[draw_calibration(labels, groups, names, 0.05, 100, seed=0)] = NO_FOLD
    check_classes(labels, folds, range(FOLDS))
    np.save(folder / "fold.npy", folds)


def run_write(folder: Path, role: Any) -> None:
    """A manifest, with its digest."""
    write_manifest(MadeColumns(folder, role), role, folder / f"{role}.parquet")


def run_read(folder: Path) -> None:
    """What the second stage asks of a manifest first."""
    train = read_manifest(folder, "train")
    assert len(train.labels) == len(train.folds) == len(train.groups)


def run_sampler(folder: Path) -> None:
    """The rows of a member, and the first batches of its first epoch."""
    from features.settings.learning import Sampling
    from stage1_cnn.sampling.loader import list_candidates
    from stage1_cnn.sampling.samplers import build_batches

    train = read_manifest(folder, "train")
    rows, sampling = train.rows_to_learn(0), Sampling()
    batches = build_batches(list_candidates(train, rows, sampling), sampling, BATCH, seed=0)
    drawn = [rows.row_ids[batches.batch(step)] for step in range(min(BATCHES, len(batches)))]
    reals = train.labels[np.concatenate(drawn)] == 0
    assert abs(reals.mean() - 0.5) < 0.01, "draws are not balanced"


def run_dump(folder: Path) -> None:
    """What one member says of the test rows: log-odds, and embeddings of one number."""
    test = read_manifest(folder, "test")
    row_ids = test.rows_to_dump(0)
    logits = np.random.default_rng(0).standard_normal(len(row_ids), np.float32)
    embeddings = np.zeros((len(row_ids), 1), np.float16)
    write_dump(Dump("test", MEMBER, row_ids, logits, embeddings), test, folder / "resnet" / "0")


def run_label(folder: Path) -> None:
    """Scores, labels and the answers to the list; each file is measured and removed."""
    from benchmarks.large.second_stage import make_second_stage
    from stage2_ensemble.columns.columns import read_held_out
    from stage2_ensemble.label.run import score_test_rows, write_answers, write_labels

    test = read_manifest(folder, "test")
    ensemble = make_second_stage({MEMBER.backbone: MEMBER.digest}, MEMBER.train_digest)
    columns = read_held_out(folder, test, [MEMBER.backbone], [0], MEMBER.train_digest)
    uncalibrated = score_test_rows(ensemble, columns, test)
    path = folder / "answers.csv"
    scores, counts = write_labels(ensemble, uncalibrated, test, path)
    assert counts["ok"] == len(test)
    path.unlink()
    write_answers(ensemble, uncalibrated, scores, test, path)
    path.unlink()


def simulate(folder: Path, n: int) -> dict[str, dict[str, float]]:
    """Figures of each step."""
    steps: list[tuple[str, Callable[..., None], tuple[Any, ...]]] = [
        ("groups", run_groups, ()),
        ("folds", run_folds, ()),
        ("train manifest, written", run_write, ("train",)),
        ("train manifest, read", run_read, ()),
        ("sampler", run_sampler, ()),
        ("test manifest, written", run_write, ("test",)),
        ("dump", run_dump, ()),
        ("label", run_label, ()),
    ]
    no_longer = {
        "test manifest, written": ("train.parquet", "label.npy", "fold.npy"),
        "dump": ("img_name", "source", "group.npy"),
    }
    measure_alone(make_lists, folder, n)
    found = {}
    for title, run, args in steps:
        for name in no_longer.get(title, ()):
            (folder / name).unlink()
        found[title] = measure_alone(run, folder, *args)
        print(f"{title}: {found[title]['cpu']:,.0f} s, {found[title]['own']:,.0f} MB", flush=True)
    return found


def main() -> None:
    """Run all steps and print their table and the peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 rows, under a minute")
    parser.add_argument("--rows", type=int, default=FULL)
    parser.add_argument("--folder", type=Path, help="where files may lie meanwhile")
    options = parser.parse_args()
    n = QUICK if options.quick else options.rows
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = simulate(Path(folder), n)
    table = Table(f"{n:,} rows", "seconds", "CPU seconds", "own, MB", "all, MB", "bytes a row")
    for title, own in found.items():
        figures = f"{own['seconds']:,.1f}", f"{own['cpu']:,.1f}", f"{own['own']:,.0f}"
        table.add_row(title, *figures, f"{own['all']:,.0f}", f"{own['own'] * 2**20 / n:,.0f}")
    Console(width=100).print(table)
    print(f"peak_mb simulation_{n} {max(own['own'] for own in found.values()):.0f}")


if __name__ == "__main__":
    main()
