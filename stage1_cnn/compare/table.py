"""The table of a comparison: on the terminal, as Markdown and as CSV, with what it leaves out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from features.core.auc import AucEstimate
from features.core.number_text import IntervalSide, find_side, format_margin
from features.settings.training import Kind
from stage1_cnn.compare.statistics import (
    MEASURES,
    MOST_SEEDS,
    TESTED,
    Entry,
    Measure,
    PairedDifference,
    SeedMean,
    bound_sd,
)

NO_VALUE = "-"
TITLES: dict[Measure, str] = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced acc.",
    "log_loss": "log loss",
}
SHOWN: tuple[Measure, ...] = ("auc", "accuracy", "balanced_accuracy")
OTHER_ROWS: dict[IntervalSide, str] = {
    "above": "better",
    "below": "worse",
    "around": "cannot tell",
    "unknown": NO_VALUE,
}
"""By where the interval of a difference lies."""
SEEDED: dict[Kind, str] = {
    "trained": "draws, and weights that are not pretrained",
    "frozen": "inner folds by which the head's prior is chosen",
}
"""What another seed changes of a run."""


@dataclass(frozen=True)
class Grid:
    """One table of texts."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Judges:
    """The rows on which all entries are judged."""

    name: str
    """As of `JudgedRows`."""
    reals: int
    fakes: int
    limit: float | None
    """Half of the 95 % interval that these rows alone leave to an AUC (median)."""


def build_grids(entries: Sequence[Entry], baseline: str) -> list[Grid]:
    """The means of every entry and, unless there is but the baseline, its differences to it, over
    seeds and over rows."""
    headers = ("rows", "entry", "seeds", *(TITLES[m] for m in SHOWN))
    means = [
        (f"{e.rows:,}", e.name, _count_seeds(e), *(format_mean(e.means[m]) for m in SHOWN))
        for e in entries
    ]
    grids = [Grid("Mean over seeds ± 95 %", headers, means)]
    compared = [entry for entry in entries if entry.differences]
    if compared:
        texts = ("rows", "entry", *(t for m in TESTED for t in (f"Δ {TITLES[m]}", "needs")))
        rows = [(f"{e.rows:,}", e.name, *_list_differences(e)) for e in compared]
        grids.append(Grid(f"Against {baseline}, paired by seed; seeds it needs", texts, rows))
    over_rows = [(e, e.over_rows) for e in compared if e.over_rows]
    if over_rows:
        texts = ("rows", "entry", "Δ AUC", "other rows")
        rows = [
            (f"{e.rows:,}", e.name, found.describe_difference(), _judge_over_rows(e, found))
            for e, found in over_rows
        ]
        grids.append(Grid(f"Against {baseline}, paired by row; 95 % over rows", texts, rows))
    return grids


def _count_seeds(entry: Entry) -> str:
    """`3`, or `2 of 3` where others diverged."""
    if not entry.diverged:
        return str(entry.seeds)
    return f"{entry.seeds} of {entry.seeds + entry.diverged}"


def _judge_over_rows(entry: Entry, found: AucEstimate) -> str:
    side = find_side(found.low, found.high)
    return OTHER_ROWS["around" if side == "above" and entry.diverged else side]


def _list_differences(entry: Entry) -> list[str]:
    cells = []
    for measure in TESTED:
        difference = entry.differences[measure]
        cells += [format_mean(difference.estimate, "+"), format_seeds(difference.seeds_needed)]
    return cells


def format_mean(value: SeedMean, sign: str = "") -> str:
    """`0.9560 ± 0.0120`; without an interval from one seed, a dash from none."""
    if not value.seeds:
        return NO_VALUE
    return format_margin(value.mean, value.half, sign)


def format_seeds(seeds: int | None) -> str:
    """`12`, `> 1000` or a dash."""
    if seeds is None:
        return NO_VALUE
    return f"> {MOST_SEEDS}" if seeds > MOST_SEEDS else str(seeds)


def list_verdicts(entries: Sequence[Entry], baseline: str) -> list[str]:
    """One sentence for each entry that is compared, and for those that cannot be."""
    return [
        f"{entry.rows:,} rows: {entry.name} diverged with every seed ({entry.diverged})"
        for entry in entries
        if not entry.seeds
    ] + [
        f"{entry.rows:,} rows: {entry.name} against {baseline}: "
        + "; ".join(f"{TITLES[m]} {_describe_verdict(d)}" for m, d in entry.differences.items())
        for entry in entries
        if entry.differences
    ]


def _describe_verdict(difference: PairedDifference) -> str:
    p = difference.p_holm
    if p is None:
        return difference.verdict
    return f"{difference.verdict} (p {'< 0.001' if p < 0.001 else f'{p:.2g}'})"


def list_notes(entries: Sequence[Entry], judges: Judges, kinds: Collection[Kind]) -> list[str]:
    """What the intervals and the seeds needed leave out; `kinds`: of the networks compared."""
    name, limit = judges.name, judges.limit
    own = "" if limit is None else f": {name} itself leaves ± {limit:.4f} on an AUC (median)"
    others = [what for kind, what in SEEDED.items() if kind in kinds]
    left = "sampling and loss leave" if "trained" in kinds else "sampling leaves"
    notes = [
        f"± is Student's 95 % interval over seeds: the same rows, other {', or '.join(others)}. "
        "It leaves out which rows were taken, and that "
        f"{name} has but {judges.reals:,} real and {judges.fakes:,} fake rows{own}.",
        f"Accuracy is that at raw log-odds above 0, where {left} it.",
    ]
    if any(entry.over_rows for entry in entries):
        notes.append(
            f"Paired by row: how other rows like those of {name}, group by group, would move the "
            "mean difference over seeds; the same trainings, and each interval by itself. Rely on "
            "a gain that both tables show."
        )
    lacking = [f"{e.name} ({e.rows:,} rows)" for e in entries if e.diverged]
    if lacking:
        notes.append(
            f"Seeds that diverged are left out of all figures of {', '.join(lacking)}, and flatter "
            "them: none of these is called better."
        )
    if "frozen" in kinds:
        notes.append(
            "Seeds hardly change a head on a frozen encoder: go by what is paired by row; more "
            "rows to judge on tell more, and more seeds do not."
        )
    seeds = max((d.estimate.seeds for e in entries for d in e.differences.values()), default=0)
    if seeds > 1:
        low, high = bound_sd(seeds)
        notes.append(
            "needs: seeds with which a paired t test at 5 % has a power of 80 %, if the observed "
            "mean and standard deviation are the true ones. "
            f"With {seeds} seeds the true deviation may be {low:.1f} to {high:.1f} times the "
            "observed one (95 %), and the seeds go with its square."
        )
        notes.append("Verdicts at 5 %, corrected for all differences of a measure here (Holm).")
    return notes


def print_report(
    grids: Sequence[Grid], verdicts: Sequence[str], notes: Sequence[str], console: Console
) -> None:
    """The tables, the verdicts and the notes, readable in 80 columns."""
    for grid in grids:
        table = Table(title=grid.title, box=SIMPLE, padding=0)
        for header in grid.headers:
            is_name = header == "entry"
            table.add_column(
                header,
                justify="left" if is_name else "right",
                overflow="fold",  # nothing is cut: a long name takes two lines
                no_wrap=not is_name,
            )
        for last, cells in zip(_mark_ends(grid.rows), grid.rows, strict=True):
            table.add_row(*cells, end_section=last)
        console.print(table)
    for text in (*verdicts, "", *notes):
        console.print(text, highlight=False)


def _mark_ends(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Whether the next row is of another number of rows."""
    names = [cells[0] for cells in rows]
    return [one != other for one, other in pairwise(names)] + [False]


def format_markdown(grids: Sequence[Grid], verdicts: Sequence[str], notes: Sequence[str]) -> str:
    """The same as `print_report`."""
    lines = ["# Comparison", ""]
    for grid in grids:
        marks = [":--" if header == "entry" else "--:" for header in grid.headers]
        lines += [f"**{grid.title}**", ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (grid.headers, marks, *grid.rows)]
        lines.append("")
    for texts in (verdicts, notes):
        lines += [*(f"- {text}" for text in texts), ""] if texts else []
    return "\n".join([*lines, "![AUC and accuracy](compare.png)", ""])


def build_csv(entries: Sequence[Entry]) -> pd.DataFrame:
    """All figures, a row for each entry; differences are named `delta_<measure>…`."""
    return pd.DataFrame([_flatten_entry(entry) for entry in entries])


def _flatten_entry(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"rows": entry.rows, "entry": entry.name, "seeds": entry.seeds}
    row["diverged"] = entry.diverged
    for measure in MEASURES:
        row |= _flatten_mean(measure, entry.means[measure])
    for measure in TESTED:
        difference = entry.differences.get(measure)
        if difference:
            name = f"delta_{measure}"
            row |= _flatten_mean(name, difference.estimate)
            row |= {
                f"{name}_seeds": difference.estimate.seeds,
                f"{name}_p": difference.estimate.p,
                f"{name}_p_holm": difference.p_holm,
                f"{name}_seeds_needed": format_seeds(difference.seeds_needed),
                f"{name}_verdict": difference.verdict,
            }
    if entry.over_rows:
        row |= {
            "delta_auc_rows_low": entry.over_rows.low,
            "delta_auc_rows_high": entry.over_rows.high,
        }
    return row


def _flatten_mean(name: str, value: SeedMean) -> dict[str, float | None]:
    half = value.half
    return {
        name: value.mean,
        f"{name}_sd": value.sd,
        f"{name}_low": None if half is None else value.mean - half,
        f"{name}_high": None if half is None else value.mean + half,
    }
