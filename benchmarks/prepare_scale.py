"""`prepare` without its images, from 10^4 to 10^7 rows: time and memory of each part.

`python -m benchmarks.prepare_scale` goes to ten million rows (ten minutes, 8 GB), `--quick` to a
million (under a minute), `--rows N …` takes any. Lists are made up: names in folders, three
generators, and a source that 30 % of the rows share with one to four others. Every run has a
process of its own, and its memory is what that adds to its imports (`VmHWM`: unlike `ru_maxrss` it
does not start at the size of the parent process). What files hold is made up too: decoding and
hashing them takes longer than all of this. Fails if a planted bad line is not told.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.large.lists import ODD, make_list
from features.core.manifest import ROLES, write_manifest
from features.errors import ManifestError
from features.lists.class_folders import read_role
from features.lists.file_names import find_path_problem
from features.pixels.facts import Scan
from features.prepare.label_overrides import override_labels
from features.prepare.roles import hold_out_domains, split_roles
from features.prepare.run import attach_scans, finish_role, group_rows, quarantine
from features.prepare.same_pictures import SamePictures
from features.prepare.summary import summarise
from features.settings.data import PrepareParams, RoleFiles
from features.splits.folds import check_classes

QUICK, FULL = (10_000, 100_000, 1_000_000), (10_000, 100_000, 1_000_000, 10_000_000)
SMALL, LARGE = 100_000, 1_000_000
"""The rates at these sizes are compared."""
PARTS = ("labels", "facts", "quarantine", "groups", "folds", "manifest", "summary")
Figures = dict[str, float]
Runs = dict[int, list[Figures]]


class Clock:
    """Seconds of each part, and the most memory by its end, in MB beyond the imports."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self._base = read_peak()

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.figures[part] = time.perf_counter() - start
        self.figures[f"{part}, peak"] = read_peak() - self._base


def read_peak() -> float:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure_table(table: pd.DataFrame) -> float:
    """MB of the table's own values; texts as Arrow has them, whatever holds them now."""
    texts = {c: "str" for c in table.columns if pd.api.types.is_object_dtype(table[c])}
    return float(table.astype(texts).memory_usage(deep=True).sum()) / 2**20


def make_params(root: Path) -> PrepareParams:
    """Val is carved out of train, and calibration rows are drawn: every draw there is."""
    data = {
        "root": str(root),
        "train": {"labels": "list.txt", "images": "images"},
        "val": None,
        "test": None,
        "columns": {"generator": "generator"},
        "group_columns": ["source"],
    }
    sections = {"split": {}, "folds": {"count": 5, "active": range(5)}, "images": {"size": 224}}
    return PrepareParams.model_validate({"seed": 0, "data": data, **sections})


def make_scans(n: int) -> pd.DataFrame:
    """File facts as a scan gives them: each content once, all else the same for all files."""
    facts = Scan("", 512, 512, 61_440, "JPEG", "RGB", True, 2, "0f3c7a92d1b84e56", 5.25)
    texts = {"sha256": pc.utf8_lpad(pa.array(np.arange(n)).cast(pa.large_string()), 64, "0")}
    for name in ("problem", "format", "mode", "quant_tables", "notes"):
        texts[name] = pa.repeat(pa.scalar(getattr(facts, name), pa.large_string()), n)
    columns = {f.name: getattr(facts, f.name) for f in fields(Scan)}
    columns |= {name: pd.Series(cells, dtype="str") for name, cells in texts.items()}
    return pd.DataFrame(columns)


def run_prepare(root: Path, n: int) -> Figures:
    """All of `prepare.run` but reading images and comparing their pictures."""
    clock, params = Clock(), make_params(root)
    with clock.time("labels"):
        rows = read_role(params.data, params.split.hold_out, "train").rows
        rows = override_labels(rows.assign(role="train", face=""), params)
    size = measure_table(rows)
    clock.figures |= {"labels, table": size, "labels, ratio": clock.figures["labels, peak"] / size}
    scans = make_scans(n)
    with clock.time("facts"):
        rows = attach_scans(rows, scans)
    del scans
    with clock.time("quarantine"):
        listed = rows[["role", "status", "label"]]
        rows = hold_out_domains(quarantine(rows, params, root), params.split.hold_out)
    with clock.time("groups"):
        none = (pd.DataFrame({"first": [], "second": []}), np.empty((0, 2), np.int64))
        rows = group_rows(rows, params, SamePictures(*none, np.arange(n), ()))
    with clock.time("folds"):
        parts = split_roles(rows, params)
        del rows
        roles = {role: finish_role(parts.pop(role)) for role in ROLES}
        labels, folds = (roles["train"][name].to_numpy() for name in ("label", "fold"))
        check_classes(labels, folds, params.folds.active)
    with clock.time("manifest"):
        for role in ROLES:
            write_manifest(roles[role], role, root / f"{role}.parquet")
    with clock.time("summary"):
        summarise(roles, listed, params.folds)
    table = sum(measure_table(rows) for rows in roles.values())
    seconds = sum(clock.figures[part] for part in PARTS)
    peak = clock.figures["summary, peak"]
    totals = {"total": seconds, "rate": n / seconds, "peak": peak, "table": table}
    return clock.figures | totals | {"peak / table": peak / table}


def run_odd(root: Path, n: int) -> Figures:
    """The list with bad lines: each must be told, the first ones with their lines."""
    clock, params = Clock(), make_params(root)
    data = params.data.model_copy(update={"train": RoleFiles(labels="odd.txt", images="images")})
    with clock.time("odd"):
        try:
            read_role(data, {}, "train")
        except ManifestError as error:
            problems, count = error.problems, error.count
    assert count == n // ODD, f"{count} problems told, {n // ODD} planted"
    wanted = [f"line {i * ODD + 1}:" for i in range(1, len(problems) + 1)]
    assert all(map(str.startswith, problems, wanted)), "bad lines are told by other numbers"
    return clock.figures | {"told": count}


def run_plain(root: Path, n: int) -> Figures:
    """The peer of the labels: pandas reads the list, and a loop checks each row."""
    clock = Clock()
    with clock.time("plain"):
        options: Any = {"dtype": str, "keep_default_na": False, "index_col": False}
        table = pd.read_csv(root / "list.txt", encoding="utf-8-sig", **options)
        first: dict[str, tuple[object, ...]] = {}
        rows: list[tuple[object, ...]] = []
        for line, cells in enumerate(table.itertuples(index=False, name=None), 2):
            name, target, generator, source = (cell.strip() for cell in cells)
            assert not find_path_problem(name)
            assert target in ("0", "1")
            path = str(PurePosixPath("images") / name)
            row = (line, name, path, int(target), 1.0, generator, source)
            assert first.setdefault(name, row) is row
            rows.append(row)
        assert len(pd.DataFrame(rows)) == n
    return clock.figures


def run_kfold(root: Path, n: int) -> Figures:
    """The peer of the folds: all groups through scikit-learn."""
    rows = read_role(make_params(root).data, {}, "train").rows
    groups, labels = pd.factorize(rows["group:source"])[0], rows["label"].to_numpy()
    clock = Clock()
    with clock.time("kfold"):
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        assert sum(len(held) for _, held in splitter.split(groups, labels, groups)) == n
    return clock.figures


def run_alone(run: Callable[..., Any], *args: Any) -> Any:
    """What `run` returns, from a process of its own, forked from this one, which only imports."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(run, *args).result()


PEERS = ((run_plain, 1_000_000, 100_000), (run_kfold, 100_000, 10_000))
"""Each with the most rows that it is given, and the most in a quick run."""


def measure(sizes: Sequence[int], quick: bool, folder: Path) -> Runs:
    """Figures of every run by size; the two sizes that are compared take turns."""
    runs: Runs = {n: [] for n in sizes}
    for n in sizes:
        (folder / str(n)).mkdir()
        for name in ("list.txt", "odd.txt"):
            run_alone(make_list, folder / str(n) / name, n, name == "odd.txt")
    turns = [n for n in sizes if n in (SMALL, LARGE)] * (3 if quick else 5)
    for n in [*turns, *(n for n in sizes if n not in turns)]:
        runs[n].append(run_alone(run_prepare, folder / str(n), n))
    for n in sizes:
        runs[n][0] |= run_alone(run_odd, folder / str(n), n)
        for run, most, most_quick in PEERS:
            if n <= (most_quick if quick else most):
                runs[n][0] |= run_alone(run, folder / str(n), n)
    return runs


LINES = {
    **{part: f"{part}, s" for part in PARTS},
    "total": "together, s",
    "rate": "rows / s",
    "peak": "peak memory, MB",
    "table": "size of the manifests, MB",
    "peak / table": "peak / size",
    "labels, peak": "peak of the labels, MB",
    "labels, table": "size of their table, MB",
    "labels, ratio": "peak / size",
    "odd": "labels with bad lines, s",
    "told": "bad lines told",
    "plain": "read_csv + checks by row, s",
    "plain, peak": "its peak, MB",
    "kfold": "StratifiedGroupKFold, s",
}


def main() -> None:
    """Run all sizes and print the table, the ratio and the peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="to a million rows, under a minute")
    parser.add_argument("--rows", type=int, nargs="+", help="other sizes")
    options = parser.parse_args()
    sizes = sorted(set(options.rows or (QUICK if options.quick else FULL)))
    with tempfile.TemporaryDirectory() as folder:
        runs = measure(sizes, options.quick, Path(folder))
    table = Table("medians of several runs", *(f"{n:,} rows" for n in sizes))
    for key, title in LINES.items():
        found = [[run[key] for run in runs[n] if key in run] for n in sizes]
        medians = [statistics.median(figures) if figures else math.nan for figures in found]
        cells = (f"{x:,.0f}" if x >= 10 else f"{x:.2f}" for x in medians)
        table.add_row(title, *(cell.replace("nan", "–") for cell in cells))
    Console(width=100).print(table)
    if {SMALL, LARGE} <= set(sizes):
        pairs = zip(runs[SMALL], runs[LARGE], strict=True)
        ratio = statistics.median(large["rate"] / small["rate"] for small, large in pairs)
        print(f"ratio rows_per_second_10x {ratio:.2f}")
    if LARGE in sizes:
        print(f"peak_mb prepare_1e6 {statistics.median(run['peak'] for run in runs[LARGE]):.0f}")


if __name__ == "__main__":
    main()
