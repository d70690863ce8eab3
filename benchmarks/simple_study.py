"""What is lost or won where the simple combiner is picked from fewer: on fresh rows of made worlds.

Run: python -m benchmarks.simple_study [--quick] [--worlds 50]

Three or seven networks, 60 to 600 rows, half or four fifths of them fakes; their errors have two
fifths in common:

alike     all know about as much
varied    from hardly anything to much
loud      one has log-odds six times as large as the others'
dead      half of them know nearly nothing

For each set of combiners that `pick_simple` may choose from: 10,000 times the AUC that its choice
has on 4,000 fresh rows less that of the choice from all five, and the standard error over worlds.
`always` is logistic regression without any choice. Errors are normal here, which suits it.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from unittest.mock import patch

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from features.core.auc import find_auc
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.models import best_simple
from stage2_ensemble.models.best_simple import pick_simple
from stage2_ensemble.models.combiners import COMBINERS

KINDS = ("alike", "varied", "loud", "dead")
ROWS, NETWORKS, FRESH = (60, 100, 200, 600), (3, 7), 4_000
SHARED = 0.4
"""Of the variance of errors."""
EVERY = frozenset(COMBINERS)
SETS = {
    "all": EVERY,
    **{f"without {name}": EVERY - {name} for name in COMBINERS},
    "always logistic": frozenset({"logistic"}),
}
Changes = dict[str, list[float]]


def make_world(kind: str, networks: int, rows: int, seed: int, fresh: bool) -> FoldColumns:
    """Rows of one fold; those to learn from and the `fresh` ones differ by their draws alone."""
    rng = np.random.default_rng([KINDS.index(kind), networks, seed, int(fresh)])
    labels = (rng.random(rows) < (0.8 if seed % 2 else 0.5)).astype(np.int8)
    labels[:10], labels[10:20] = 0, 1
    signs = 2.0 * labels[:, None] - 1
    world = np.random.default_rng([networks, seed])
    strengths = world.uniform(*((0.1, 1.3) if kind == "varied" else (0.5, 1.1)), networks)
    scales = world.uniform(0.7, 1.4, networks)
    if kind == "loud":
        scales[world.integers(networks)] *= 6
    elif kind == "dead":
        strengths[world.permutation(networks)[: networks // 2]] = 0.05
    shared, own = rng.normal(size=(rows, 1)), rng.normal(size=(rows, networks))
    errors = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own
    return FoldColumns(
        fold=0,
        backbones=tuple(f"b{i}" for i in range(networks)),
        row_ids=np.arange(rows),
        logits=1.5 * scales * (strengths * signs + errors),
        embeddings=(np.zeros((rows, 0), np.float16),) * networks,
        labels=labels,
        weights=np.ones(rows),
        groups=np.arange(rows),
        extras=np.zeros((rows, 0), np.float32),
        extra_names=(),
    )


def measure_world(kind: str, networks: int, rows: int, seed: int) -> dict[str, float]:
    """AUC on fresh rows of what is picked from each set."""
    learn = make_world(kind, networks, rows, seed, fresh=False)
    new = make_world(kind, networks, FRESH, seed, fresh=True)
    found = {}
    for name, allowed in SETS.items():
        with patch.object(best_simple, "UNPICKED", EVERY - allowed):
            found[name] = find_auc(new.labels, pick_simple([learn], Stack(), seed).score(new))
    return found


def measure_changes(rows: int, kind: str, worlds: int) -> Changes:
    """Of each set less all, one number a world, in 1/10,000."""
    changes: Changes = {name: [] for name in SETS if name != "all"}
    for networks, seed in product(NETWORKS, range(worlds)):
        found = measure_world(kind, networks, rows, seed)
        for name, values in changes.items():
            values.append(1e4 * (found[name] - found["all"]))
    return changes


def list_cells(changes: Changes) -> Iterator[str]:
    """Mean and standard error."""
    for values in changes.values():
        yield f"{np.mean(values):+.1f} ± {np.std(values) / np.sqrt(len(values)):.1f}"


def main() -> None:
    """Print a line for each number of rows and kind, and one for all kinds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few worlds of few rows")
    parser.add_argument("--worlds", type=int, help="of each kind and number of networks")
    given = parser.parse_args()
    worlds = given.worlds or (3 if given.quick else 50)
    table = Table("rows", "worlds", *(name for name in SETS if name != "all"))
    for rows in ROWS[: 2 if given.quick else None]:
        whole: Changes = {}
        for kind in track(KINDS, f"{rows} rows", console=Console(stderr=True), transient=True):
            changes = measure_changes(rows, kind, worlds)
            table.add_row(str(rows), kind, *list_cells(changes))
            for name, values in changes.items():
                whole.setdefault(name, []).extend(values)
        table.add_row(str(rows), "all", *list_cells(whole), end_section=True)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
