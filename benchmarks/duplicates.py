"""Near-duplicate search against comparing all pairs, on made hashes: time, memory, what is found.

`python -m benchmarks.duplicates` takes 524,429 rows a case, `--quick` 50,000 (under a minute), and
`--rows 10000000 --case even` any number of one case. The peer finds the pairs of hashes within the
radius, block by block, and does not verify them; it does a share of the blocks (random ones), from
which its time is extrapolated. Each run has a process of its own. Fails if a copy is missed or
different pictures are linked. Memory is what the search adds to the made hashes: `own` that of the
process itself, `all` with what it holds in files of the folder where it is run.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.large.watching import read_status, run_alone, watch
from features.prepare.near_duplicates import RADIUS, NearLinks, link_near

ROWS, QUICK_ROWS = 524_429, 50_000
PEER_PAIRS = 2**29
BITS = 256
BLOCK = 8192
PEER_ROWS, PEER_COLUMNS = 64, 4096
Hashes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


class DrawnThumbnails:
    """A thumbnail for each row, drawn when asked for: its picture's, and a little noise of its own.

    Picture p is the mean of two textures, number p of 1,021 and p of 1,019, so that no two of the
    first million are alike: sharing one texture gives a correlation of 0.5.
    """

    def __init__(self, pictures: Ints) -> None:
        rng = np.random.default_rng(7)
        self.pictures = pictures
        self.textures = [
            rng.integers(8, 248, (count, 32, 32), dtype=np.uint8) // 2 for count in (1021, 1019)
        ]
        self.noise = rng.integers(0, 5, (97, 32, 32), dtype=np.uint8)

    def __getitem__(self, rows: Ints) -> npt.NDArray[np.uint8]:
        pictures = self.pictures[rows]
        first, second = (texture[pictures % len(texture)] for texture in self.textures)
        return np.asarray(first + second + self.noise[rows % 97], dtype=np.uint8)


@dataclass(frozen=True)
class Case:
    """Hashes, the picture of each row, and how many near copies of picture 0 form a cluster."""

    hashes: Hashes
    pictures: Ints
    dense: int = 0


def perturb(hashes: Hashes, most: int, rng: np.random.Generator) -> Hashes:
    """The hashes with 0 … `most` random bits of each flipped."""
    flipped = np.empty_like(hashes)
    for begin in range(0, len(hashes), BLOCK):
        bits = np.unpackbits(hashes[begin : begin + BLOCK], axis=1)
        ranks = rng.random(bits.shape).argsort(axis=1).argsort(axis=1)
        counts = rng.integers(0, most + 1, (len(bits), 1))
        flipped[begin : begin + BLOCK] = np.packbits(bits ^ (ranks < counts), axis=1)
    return flipped


def draw_even(count: int, rng: np.random.Generator) -> Hashes:
    return rng.integers(0, 256, (count, BITS // 8), dtype=np.uint8)


def draw_skewed(count: int, rng: np.random.Generator) -> Hashes:
    """Bits that are 1 in 15 % or 85 % of rows; 16 blocks of 8 are all usual or all unusual in half
    of the rows."""
    usual = rng.random(BITS) < 0.5
    groups = rng.permutation(BITS)[:128].reshape(16, 8)
    hashes = np.empty((count, BITS // 8), np.uint8)
    for begin in range(0, count, BLOCK):
        block = hashes[begin : begin + BLOCK]
        as_usual = rng.random((len(block), BITS)) < 0.85
        for group in groups:
            together = np.flatnonzero(rng.random(len(block)) < 0.5)
            as_usual[np.ix_(together, group)] = as_usual[together, group[0]][:, None]
        block[:] = np.packbits(as_usual == usual, axis=1)
    return hashes


def make_pairs(n: int, draw: Callable[[int, np.random.Generator], Hashes], dense: int) -> Case:
    """Single rows, near copies of 1 %, and `dense` rows within 7 bits of picture 0."""
    rng = np.random.default_rng(3)
    planted = n // 100
    single = n - planted - dense
    origins = np.concatenate([1 + np.arange(planted), np.zeros(dense, int)])
    base = draw(single, rng)
    copies = perturb(base[origins[:planted]], RADIUS, rng)
    cluster = perturb(base[origins[planted:]], RADIUS // 2, rng)
    order = rng.permutation(n)
    pictures = np.concatenate([np.arange(single), origins])[order]
    return Case(np.concatenate([base, copies, cluster])[order], pictures, dense)


def make_equal(n: int) -> Case:
    """Half of the rows are copies of one of n / 200 pictures, bit for bit the same hash.

    A tenth of those pictures have the hash of another one, by chance.
    """
    rng = np.random.default_rng(5)
    pictures = np.where(rng.random(n) < 0.5, rng.integers(0, n // 200, n), np.arange(n) + n // 200)
    hashes = draw_even(int(pictures.max()) + 1, rng)
    pairs = rng.permutation(n // 200)[: n // 4000 * 2].reshape(2, -1)
    hashes[pairs[0]] = hashes[pairs[1]]
    return Case(hashes[pictures], pictures)


CASES: dict[str, Callable[[int], Case]] = {
    "even": lambda n: make_pairs(n, draw_even, 0),
    "uneven, dense": lambda n: make_pairs(n, draw_skewed, n * 20_000 // ROWS),
    "equal": make_equal,
}


def check_links(case: Case, found: NearLinks) -> int:
    """Rows of the largest component that was not cut.

    Fails unless each picture is one component and each component one picture; a dense cluster must
    be one component that was cut.
    """
    n, (first, second) = len(case.hashes), found.rows.T
    assert (case.pictures[first] == case.pictures[second]).all(), "different pictures are linked"
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    _, parts = connected_components(graph, directed=False)
    expected = [case.dense + 1] if case.dense else []
    assert [cut.rows for cut in found.cuts] == expected, f"cut: {found.cuts}"
    others = case.pictures != 0 if case.dense else np.ones(n, bool)
    pairs = np.unique(case.pictures[others] * n + parts[others])
    assert len(pairs) == len(np.unique(case.pictures[others])), "copies of a picture are missed"
    largest = int(np.bincount(parts[others]).max())
    assert largest == np.bincount(case.pictures[others]).max()
    return largest


def run_ours(name: str, n: int) -> dict[str, float | str]:
    """Time and memory of the search, then what was found, checked."""
    case = CASES[name](n)
    figures: dict[str, Any] = {}
    before = read_status("RssAnon")
    with watch(figures), TemporaryDirectory(dir=".") as folder:
        found = link_near(case.hashes, DrawnThumbnails(case.pictures), scratch=Path(folder))
    cuts = [f"{cut.rows:,} to {cut.largest:,} at {cut.radius}" for cut in found.cuts]
    return {
        "seconds": figures["seconds"],
        "cpu": figures["cpu"],
        "own": figures["own"] - before,
        "all": figures["all"] - before,
        "links": f"{len(found.rows):,}",
        "largest": f"{check_links(case, found):,}",
        "cuts": ", ".join(cuts) or "–",
    }


def run_peer(name: str, n: int) -> dict[str, float | str]:
    """Compares all pairs, or a share of them and extrapolates the time."""
    words = CASES[name](n).hashes.view(np.uint64).T.copy()
    rows = np.arange(0, n, PEER_ROWS)
    counts = -(-n // PEER_COLUMNS) - rows // PEER_COLUMNS  # blocks at and right of the diagonal
    ends = np.cumsum(counts)
    most = min(PEER_PAIRS // (PEER_ROWS * PEER_COLUMNS), int(ends[-1]))
    some = np.random.default_rng(0).choice(int(ends[-1]), most, replace=False, shuffle=False)
    line = np.searchsorted(ends, some, side="right")
    right = rows[line] // PEER_COLUMNS + some - (ends - counts)[line]
    start = time.perf_counter()
    for i, j in zip(rows[line].tolist(), (right * PEER_COLUMNS).tolist(), strict=True):
        left, right = words[:, i : i + PEER_ROWS, None], words[:, None, j : j + PEER_COLUMNS]
        counts = np.bitwise_count(left[0] ^ right[0]).astype(np.uint16)
        for a, b in zip(left[1:], right[1:], strict=True):
            counts += np.bitwise_count(a ^ b)
        np.nonzero(counts <= RADIUS)
    share = most / int(ends[-1])
    return {"seconds": (time.perf_counter() - start) / share, "share": share}


def main() -> None:
    """Run the cases and print the table, the ratio and the peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50,000 rows, under a minute")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--case", choices=CASES, action="append", help="one of the cases")
    options = parser.parse_args()
    n = QUICK_ROWS if options.quick else options.rows
    titles = ("case", "ours, s", "CPU, s", "peer, s", "ratio", "own, MB", "all, MB", "links")
    table = Table(*titles, "largest", "cut")
    ratios, peaks, share = [], [], 1.0
    for name in options.case or CASES:
        ours = run_alone(run_ours, name, n)
        print(f"{name}: {ours['cpu']:.1f} s of CPU, {ours['own']:,.0f} MB", flush=True)
        peer = run_alone(run_peer, name, n)
        ratios.append(peer["seconds"] / ours["seconds"])
        peaks.append(ours["own"])
        share = peer["share"]
        seconds = (ours["seconds"], ours["cpu"], peer["seconds"], ratios[-1])
        figures = [f"{value:,.1f}" for value in seconds]
        figures += [f"{ours[key]:,.0f}" for key in ("own", "all")]
        table.add_row(name, *figures, ours["links"], ours["largest"], ours["cuts"])
    console = Console(width=120)
    console.print(
        f"{n:,} rows a case. Ours: reads (here: draws) every thumbnail for its contrast, searches "
        f"and verifies. Peer: Hamming distances of {share:.2%} of all pairs, extrapolated. "
        "One thread each."
    )
    console.print(table)
    print(f"ratio duplicates_vs_brute_force {min(ratios):.2f}")
    print(f"peak_mb duplicates_{n} {max(peaks):.0f}")


if __name__ == "__main__":
    main()
