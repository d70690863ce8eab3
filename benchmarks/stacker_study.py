"""Which LightGBM stacker earns its place: how often it ships rightly and wrongly, and the regret.

Run: python -m benchmarks.stacker_study [--worlds 200] [--kinds …] [--variants …] [--out FILE]
Tell: python -m benchmarks.stacker_study --table --out FILE
Hold to the gates of finished runs: python -m benchmarks.stacker_study --project FOLDER …

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

Worlds that a file of `--out` holds are not run again: those of `many`, which take a core over a
minute each, lie in `benchmarks/study/many.csv`.

Of a project its manifest, dumps and forensics are read as `stage2_ensemble.stack` reads them, and
nothing is written; `stack` (its repeats, too), `gate` and `seed` are its own. Told are the gain out
of fold with the gate's one-sided bounds, and AUCs on val with a 95 % interval of their difference,
by drawing groups again. Of unseen domains the gate knows nothing for `from zero`.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import binomtest

from benchmarks.study.projects import COLUMNS, judge_project, read_project
from benchmarks.study.variants import VARIANTS
from benchmarks.study.worlds import FIELDS, KINDS, run_world
from features.settings.stacking import Gate

WORLD_COLUMNS = (
    *("world", "worlds", "variant", "adds"),
    *("ships wrongly", "ships where better", "regret"),
)


def tell(found: pd.DataFrame) -> str:
    """A table in Markdown: a line for each kind and variant."""
    lines = list(head_table(WORLD_COLUMNS))
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
        lines.append(build_line(values))
    return "\n".join(lines)


def head_table(names: Sequence[str]) -> tuple[str, str]:
    """The lines that a table in Markdown begins with."""
    return build_line(names), "|---" * len(names) + "|"


def build_line(cells: Iterable[object]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=200, help="of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("stacker_study.csv"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--project", type=Path, nargs="+", help="finished runs, in place of worlds")
    parser.add_argument("--table", action="store_true", help="run nothing, print what is there")
    parser.add_argument("--quick", action="store_true", help="one world of two kinds, kept nowhere")
    given = parser.parse_args()
    if given.project:
        show_projects(given.project, given.variants.split(","))
        return
    with tempfile.TemporaryDirectory() as folder:
        if given.quick:
            given.worlds, given.kinds, given.out = 1, "additive,few", Path(folder) / "study.csv"
        if not given.table:
            run(given)
        print(tell(pd.read_csv(given.out)))


def show_projects(folders: Sequence[Path], names: Sequence[str]) -> None:
    """Prints a table in Markdown: a line for each project and variant, as soon as it is known."""
    print("\n".join(head_table(COLUMNS)))
    for folder in folders:
        for cells in judge_project(read_project(folder), names):
            print(build_line(cells), flush=True)


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
