"""`prepare` without its images, from 10^4 to 10^7 rows: time and memory of each part.

`python -m benchmarks.prepare_scale` goes to ten million rows (half an hour, 12 GB), `--quick` to a
million (under a minute), `--rows N …` takes any. Lists are made up: names in folders, three
generators, and a source that 30 % of the rows share with one to four others. Every run has a
process of its own, and its memory is what that adds to its imports (`VmHWM`: unlike `ru_maxrss` it
does not start at the size of the parent process). What files hold is made up too: decoding and
hashing them takes longer than all of this. Fails if a planted bad line is not told.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import StratifiedGroupKFold

from features.class_folders import read_rows
from features.errors import ManifestError
from features.images import Scan
from features.labels import find_path_problem, list_group_keys
from features.manifest import ROLES, SCHEMA, write_manifest
from features.prepare import attach_scans, finish_role, group_rows, quarantine
from features.prepare_params import PrepareParams
from features.prepare_summary import summarise
from features.roles import hold_out, split_roles
from features.same_pictures import SamePictures
from features.splits import check_classes

QUICK, FULL = (10_000, 100_000, 1_000_000), (10_000, 100_000, 1_000_000, 10_000_000)
SMALL, LARGE = 100_000, 1_000_000
"""The rates at these sizes are compared."""
PEER_ROWS = {"read_csv, checked row by row": 1_000_000, "StratifiedGroupKFold alone": 100_000}
QUICK_PEER_ROWS = {"read_csv, checked row by row": 1_000_000, "StratifiedGroupKFold alone": 10_000}
MAKERS = ("real", "stylegan2", "diffusion-xl", "faceswap")
ODD = 1000
"""One line of so many is bad in the second list."""
BLOCK = 1_000_000
Row = dict[str, float]


def make_list(path: Path, n: int, odd: bool) -> None:
    """A label file of `n` rows; `odd`: each thousandth line is bad in one of six ways."""
    rng = np.random.default_rng(n)
    sources = draw_sources(n, rng)
    makers = pa.array(MAKERS)
    with open(path, "wb") as file:
        file.write(b"img_name,target,generator,source\n")
        for start in range(0, n, BLOCK):
            rows = np.arange(start, min(start + BLOCK, n))
            is_fake = rng.random(len(rows)) < 0.81
            by = makers.take(pa.array(np.where(is_fake, rng.integers(1, len(MAKERS), len(rows)), 0)))
            names = join("", join("/", by, spell(rows // 1000, 6), "img_"), spell(rows, 8), ".jpg")
            targets = pa.array(is_fake.astype(np.int8)).cast(pa.string())
            source = join("", "video_", spell(sources[rows], 8))
            lines = join(",", names, targets, by, source).to_pylist()
            for i in range(ODD - 1, len(lines) if odd else 0, ODD):
                lines[i] = spoil(lines[i], i // ODD % 6)
            file.write("\n".join([*lines, ""]).encode())


def join(separator: str, *parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, separator)


def spell(numbers: np.ndarray[Any, Any], width: int) -> pa.Array:
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")


def draw_sources(n: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """`(n,)` numbers: 30 % of the rows are in groups of 2 to 5, scattered, the others single."""
    sizes = rng.integers(2, 6, max(n // 5, 1))
    sizes = sizes[np.cumsum(sizes) <= 0.3 * n]
    grouped = np.repeat(np.arange(len(sizes)), sizes)
    single = np.arange(len(sizes), len(sizes) + n - len(grouped))
    return rng.permutation(np.concatenate([grouped, single]))


def spoil(line: str, way: int) -> str:
    name, target, generator, source = line.split(",")
    return (
        f"../{name},{target},{generator},{source}",
        f"{name},2,{generator},{source}",
        f"{name},{target},{generator}",
        f"{line},x",
        f"C:\\{name},{target},{generator},{source}",
        f",{target},{generator},{source}",
    )[way]


@dataclass
class Parts:
    """Seconds of each part, and the most memory by its end, in MB beyond the imports."""

    base: float
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        self.peaks[name] = read_peak() - self.base


def read_peak() -> float:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure_table(table: pd.DataFrame) -> float:
    """MB of the table's own values; one text for many cells (object columns) counts as many."""
    return float(table.memory_usage(deep=True).sum()) / 2**20


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
    folds = {"count": 5, "active": list(range(5))}
    sections = {"data": data, "split": {}, "folds": folds, "images": {"size": 224}}
    return PrepareParams.model_validate({"seed": 0, **sections})


def make_scans(n: int) -> pd.DataFrame:
    """File facts as a scan gives them: each content once, all else the same for all files."""
    facts = Scan("", 512, 512, 61_440, "JPEG", "RGB", True, 2, "0f3c7a92d1b84e56", 5.25)
    columns: dict[str, Any] = {}
    for name in (f.name for f in fields(Scan)):
        value = getattr(facts, name)
        repeated = pa.repeat(pa.scalar(value, pa.large_string()), n) if value == str(value) else None
        columns[name] = value if repeated is None else pd.Series(repeated, dtype="str")
    sha256 = spell(np.arange(n), 64).cast(pa.large_string())
    return pd.DataFrame(columns | {"sha256": pd.Series(sha256, dtype="str")})


def run_prepare(root: Path, n: int) -> Parts:
    """All of `prepare.run` but reading images and comparing their pictures."""
    parts, params = Parts(read_peak()), make_params(root)
    with parts.time("labels"):
        rows, _ = read_rows(params.data, params.split.hold_out, "train")
    parts.peaks["labels table"] = measure_table(rows)
    with parts.time("facts"):
        rows = attach_scans(rows.assign(role="train"), make_scans(n))
    with parts.time("quarantine"):
        listed = rows[["role", "status"]]
        rows = hold_out(quarantine(rows, params, root), params.split.hold_out)
    with parts.time("groups"):
        empty = pd.DataFrame({"first": [], "second": []})
        rows = group_rows(rows, params, SamePictures(empty, np.arange(n), ()))
    with parts.time("folds"):
        split = split_roles(rows, params)
        roles = {role: finish_role(split[role]) for role in ROLES}
        train = roles["train"]
        check_classes(train["label"].to_numpy(), train["fold"].to_numpy(), params.folds.active)
    with parts.time("write"):
        for role in ROLES:
            write_manifest(roles[role], role, root / f"{role}.parquet")
    with parts.time("summary"):
        summarise(roles, listed, params.folds)
    parts.peaks["table"] = sum(measure_table(roles[role]) for role in ROLES)
    return parts
