"""Rows as people and programs want them: CSV, JSON lines, a submission."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from features.core.files import write_atomic
from features.errors import PictureError
from serving.ensemble.rows import LabelledPicture
from serving.reading.texts import read_given_text

COLUMNS = ("img_name", "score", "label", "log_odds", "status")
ASKED, FACES = "asked", "faces"
DIGITS = "%.17g"
"""All that a float64 has."""


def write_rows(
    path: Path,
    rows: Iterable[LabelledPicture],
    members: Sequence[str],
    more: Sequence[str] = (),
) -> None:
    """CSV: `img_name,score,label,log_odds,status`, a column for each of `members`, and `more`, of
    `ASKED` and `FACES`."""
    with write_atomic(path) as file:
        writer = csv.writer(_Utf8(file), lineterminator="\n")
        writer.writerow([*COLUMNS, *members, *more])
        for row in rows:
            numbers = [DIGITS % row.score, row.label, DIGITS % row.log_odds, row.status]
            numbers += [DIGITS % row.members[m] for m in members]
            writer.writerow([row.name, *numbers, *(getattr(row, name) for name in more)])


def write_json_rows(path: Path, rows: Iterable[LabelledPicture]) -> None:
    """JSON, one object a line."""
    with write_atomic(path) as file:
        for row in rows:
            file.write(json.dumps(describe_labelled(row), ensure_ascii=False).encode() + b"\n")


def describe_labelled(row: LabelledPicture) -> dict[str, Any]:
    """By column; log-odds of members, where there are any, by their names. No number is NaN."""
    values = (row.name, row.score, row.label, row.log_odds, row.status)
    facts: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
    if row.members:
        odds = row.members.items()
        facts["members"] = {name: None if math.isnan(value) else value for name, value in odds}
    if row.asked:
        facts[ASKED] = row.asked
    if row.faces is not None:
        facts[FACES] = row.faces
    return facts


def read_template(path: Path) -> list[str]:
    """The names in the column `img_name` of a CSV, in their order.

    Raises `PictureError`, also for names that stand twice.
    """
    try:
        lines = [line for line in csv.reader(io.StringIO(read_given_text(path))) if line]
    except csv.Error as error:
        raise PictureError(str(path), [f"no CSV: {error}"]) from None
    header = [cell.strip() for cell in lines[0]] if lines else []
    if "img_name" not in header:
        raise PictureError(str(path), ["its first line names no column img_name"])
    place = header.index("img_name")
    names = [line[place].strip() if place < len(line) else "" for line in lines[1:]]
    seen: set[str] = set()
    twice = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if twice:
        raise PictureError(str(path), [f"{name!r} stands twice" for name in dict.fromkeys(twice)])
    return names


def write_submission(path: Path, rows: Iterable[LabelledPicture], names: Sequence[str]) -> None:
    """`img_name,y_pred`: the scores of `names`, in their order."""
    scores = {row.name: row.score for row in rows}
    with write_atomic(path) as file:
        writer = csv.writer(_Utf8(file), lineterminator="\n")
        writer.writerow(["img_name", "y_pred"])
        writer.writerows([name, DIGITS % scores[name]] for name in names)


class _Utf8:
    """A file of bytes that takes text."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())
