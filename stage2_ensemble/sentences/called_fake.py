"""Which reals are called fake most often, which fakes least, and whether that may be chance."""

from collections.abc import Iterator
from typing import Literal

from features.core.number_text import IntervalSide, find_side, format_figure
from stage2_ensemble.results.scores import (
    CalledFake,
    CalledFakeByClass,
    CalledFakeClass,
    NamedCalledFake,
)
from stage2_ensemble.sentences.intervals import format_interval

Kind = Literal["reals", "fakes"]
Column = Literal["sources", "generators"]
LISTS: tuple[tuple[Kind, Column], ...] = (
    *(("reals", "sources"), ("reals", "generators")),
    *(("fakes", "generators"), ("fakes", "sources")),
)
"""In the order in which they are shown."""
WORSE: dict[Kind, tuple[IntervalSide, str]] = {
    "reals": ("above", "more"),
    "fakes": ("below", "less"),
}
OTHERS = "Of reals from other sources val tells nothing."
NO_SOURCES = (
    "Reals of val have no source: which of them are called fake, and how often reals from "
    "elsewhere are, is not known. Name a column in data.columns.source."
)


def judge_share(entry: NamedCalledFake, everything: CalledFake) -> IntervalSide:
    """Where its interval, with the risk shared among all names, lies beside the rate of all."""
    return find_side(entry["shared_low"], entry["shared_high"], everything["called_fake"])


def is_any_worse(kind: Kind, column: Column, found: CalledFakeClass) -> bool:
    """Whether the worst of a list is shown to be worse than all rows of its class."""
    entries = found[column]
    return bool(entries) and judge_share(entries[0], found["all"]) == WORSE[kind][0]


def find_main(called_fake: CalledFakeByClass) -> list[tuple[Kind, Column]]:
    """Of each class the first list that has names: sources of reals, generators of fakes."""
    lists: dict[Kind, Column] = {}
    for kind, column in LISTS:
        if called_fake[kind][column]:
            lists.setdefault(kind, column)
    return list(lists.items())


def list_called_fake(called_fake: CalledFakeByClass) -> Iterator[str]:
    """A sentence for each main list; what is not known of reals where they have no source."""
    if not called_fake["reals"]["sources"]:
        yield NO_SOURCES
    for kind, column in find_main(called_fake):
        yield describe_worst(kind, column, called_fake[kind])


def describe_worst(kind: Kind, column: Column, found: CalledFakeClass) -> str:
    """The worst of a list, against all rows of its class."""
    entries, everything, title = found[column], found["all"], f"{column} of {kind}"
    worst, count = entries[0], len(entries)
    figure = f"{format_interval(worst, 'called_fake')} of its {worst['rows']:,} {kind}"
    all_rows = f"all {everything['rows']:,} {kind} ({format_figure(everything['called_fake'])})"
    tail = f" {OTHERS}" if (kind, column) == ("reals", "sources") else ""
    more = WORSE[kind][1]
    if count == 1:
        one = f"One {column.removesuffix('s')} of {kind}"
        beside = f", {more} often than {all_rows}" if is_any_worse(kind, column, found) else ""
        return f"{one} is named, {worst['name']}: {figure} are called fake{beside}.{tail}"
    if is_any_worse(kind, column, found):
        text = (
            f"Of {count:,} {title} the worst is {worst['name']}: {figure} are called fake, "
            f"{more} often than {all_rows}, with the risk of 5 % shared among the {count:,}"
        )
    else:
        text = (
            f"None of {count:,} {title} is shown to be called fake {more} often than {all_rows}; "
            f"the worst is {worst['name']}: {figure}"
        )
    return f"{text}.{tail}"
