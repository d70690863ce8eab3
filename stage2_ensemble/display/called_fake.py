"""The table of which reals are called fake, and which fakes are not."""

from dataclasses import replace

from features.core.number_text import IntervalSide
from stage2_ensemble.display.layout import Column, Row, TextTable
from stage2_ensemble.results.form import ValMetrics
from stage2_ensemble.results.scores import CalledFake
from stage2_ensemble.sentences.called_fake import LISTS, Kind, judge_share
from stage2_ensemble.sentences.intervals import format_interval

MOST = 10
"""Names of a list; `metrics.json` has all."""
SIDES: dict[IntervalSide, str] = {
    "above": "more often",
    "below": "less often",
    "around": "unclear",
    "unknown": "too few",
}
COLUMNS = (
    Column("rows", folds=True),
    Column("called fake [95 %]", "right"),
    Column("of", "right"),
    Column("groups", "right"),
    Column("than all"),
)
NOTE = (
    "sorted by the end of the interval that is nearer to all rows, so that few rows do not come "
    "first by chance; than all: with the risk of 5 % shared among the names of a list"
)


def build_called_fake(metrics: ValMetrics) -> TextTable | None:
    """Reals and fakes, the worst of each list; `None` where no row has a source or a generator."""
    if not any(metrics["called_fake"][kind][column] for kind, column in LISTS):
        return None
    rows = (*_list_class(metrics, "reals"), *_list_class(metrics, "fakes"))
    where = "by its review band" if "review" in metrics["answers"] else "at its threshold"
    title = f"what ships ({metrics['val']['shipped']}): called fake {where}"
    return TextTable(title, COLUMNS, rows, NOTE)


def _list_class(metrics: ValMetrics, kind: Kind) -> list[Row]:
    found = metrics["called_fake"][kind]
    rows = [_build_row(f"all {kind}", found["all"])]
    for column in [column for of_kind, column in LISTS if of_kind == kind and found[column]]:
        entries = found[column]
        for entry in entries[:MOST]:
            side = SIDES[judge_share(entry, found["all"])]
            rows.append(_build_row(f"{kind} of {entry['name']}", entry, side))
        if len(entries) > MOST:
            rows.append(Row((f"{len(entries) - MOST:,} more {column}", "", "", "", "")))
        rows[-1] = replace(rows[-1], ends_section=True)
    return rows


def _build_row(name: str, values: CalledFake, side: str = "") -> Row:
    interval = format_interval(values, "called_fake")
    return Row((name, interval, f"{values['rows']:,}", f"{values['groups']:,}", side))
