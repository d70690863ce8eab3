"""What `python -m serving.diff` does."""

from collections.abc import Iterator
from pathlib import Path

from features.core.number_text import format_figure
from features.errors import PictureError
from features.runtime.progress import track
from features.runtime.terminal import build_console, get_form, write_document
from serving.diff.comparing import BundleDifference, JudgedPair, Pair, compare_pairs, read_targets
from serving.ensemble.ensemble import Ensemble
from serving.reading.sources import Source, list_pictures, open_sources
from serving.reading.texts import show_name
from stage2_ensemble.display.layout import Column, Row, TextTable, render_table
from stage2_ensemble.measures.shares import Share


def run(first: Path, second: Path, paths: tuple[str, ...], labels: Path | None, shown: int) -> None:
    """Labels all pictures with both bundles, and tells where they differ.

    Raises `PictureError`, `BundleError`.
    """
    targets = None if labels is None else read_targets(labels)
    sources = open_sources(paths)
    names = [name for source in sources for name in source.list_names()]
    if not names:
        raise PictureError("pictures", [f"there are none in {', '.join(paths)}"])
    if targets is not None and targets.keys().isdisjoint(names):
        problem = f"none of its names is that of a picture, such as {show_name(names[0])}"
        raise PictureError(str(labels), [problem])
    both = (Ensemble.load(first), Ensemble.load(second))
    pairs = track(_label_twice(*both, sources), "diff", len(names), unit="pictures")
    found = compare_pairs(pairs, targets, shown)
    if get_form() == "json":
        write_document(found.to_json())
        return
    console = build_console()
    for table in build_tables(found):
        console.print(render_table(table))


def _label_twice(first: Ensemble, second: Ensemble, sources: list[Source]) -> Iterator[Pair]:
    rows = (ensemble.stream(list_pictures(sources)) for ensemble in (first, second))
    for one, other in zip(*rows, strict=True):
        yield Pair(one, other)


def build_tables(found: BundleDifference) -> list[TextTable]:
    """Labels that flip, the largest differences, and who is right."""
    flips = [Row((a, b, f"{count:,}")) for (a, b), count in found.flips.items()]
    title = f"{found.rows:,} pictures, {found.unreadable:,} unreadable: labels that differ"
    columns = (Column("A says"), Column("B says"), Column("pictures", "right"))
    tables = [TextTable(title, columns, tuple(flips), "" if flips else "There are none.")]
    if found.largest:
        rows = tuple(
            Row(
                (
                    show_name(pair.first.name),
                    *(f"{row.score:.4f}" for row in (pair.first, pair.second)),
                )
            )
            for pair in found.largest
        )
        columns = (Column("picture", folds=True), Column("A", "right"), Column("B", "right"))
        tables.append(TextTable("The largest differences, as probabilities", columns, rows))
    if found.judged:
        tables.append(_build_judged(found.judged))
    return tables


def _build_judged(judged: JudgedPair) -> TextTable:
    rows = [Row(("AUC", *(auc.describe() for auc in judged.aucs)))]
    for name, title in (
        ("reals_called_fake", "reals called fake"),
        ("fakes_called_real", "fakes called real"),
    ):
        rows.append(Row((title, *(_describe_share(errors[name]) for errors in judged.errors))))
    columns = (Column(""), Column("A [95 %]", "right"), Column("B [95 %]", "right"))
    note = f"AUC of B minus that of A: {judged.difference.describe_difference()}"
    return TextTable(f"{judged.rows:,} pictures with labels", columns, tuple(rows), note)


def _describe_share(share: Share) -> str:
    return format_figure(share.value, share.low, share.high)
