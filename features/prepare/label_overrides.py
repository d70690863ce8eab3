"""`review.csv` (`data.label_overrides`): labels that somebody looked at, corrected or confirmed.

A table with the header `role,img_name,label,corrected,note`, as the report's gallery writes it.
`label` is what the list said when the person looked and `corrected` what the picture shows, both
0 real or 1 fake whatever `data.classes` says; where they are equal, the label was confirmed. `note`
is free text.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.core.manifest import NO_OVERRIDE, Role
from features.errors import ManifestError
from features.lists.csv_blocks import Problems
from features.lists.tables import open_table
from features.prepare.roles import find_held
from features.settings.data import PrepareParams

HEADER = ["role", "img_name", "label", "corrected", "note"]
LABELS = {"0": 0, "1": 1}
DIRECTIONS = {"to real": 0, "to fake": 1}
ADVICE = "label and corrected are 0 (real) or 1 (fake), whatever data.classes says."


@dataclass(frozen=True)
class Override:
    """One line of `review.csv`."""

    line: int
    role: str
    img_name: str
    label: int
    corrected: int


def override_labels(rows: pd.DataFrame, params: PrepareParams) -> pd.DataFrame:
    """`rows` with `override`, `corrected` and `confirmed`; `label` stays what the lists say.

    `rows` are those of all lists: `role`, `img_name`, `label` and `hold:` columns. `override` is
    the corrected label where the list's is wrong, else -1; `corrected` is the label that models
    learn from: the override, or the list's. Raises `ManifestError` with the first problems of the
    file and the count of all.
    """
    override = np.full(len(rows), NO_OVERRIDE, np.int8)
    confirmed = np.zeros(len(rows), bool)
    if params.data.label_overrides is not None:
        for place, entry in _read_matched(Path(params.data.label_overrides), rows, params).items():
            if entry.label == entry.corrected:
                confirmed[place] = True
            else:
                override[place] = entry.corrected
    corrected = np.where(override != NO_OVERRIDE, override, rows["label"]).astype(np.int8)
    return rows.assign(override=override, corrected=corrected, confirmed=confirmed)


def count_overrides(parts: Mapping[Role, pd.DataFrame], total: int) -> dict[str, Any]:
    """How many labels were overridden, by role and direction, and how many confirmed.

    `parts` as `split_roles` gives them. `unused`: those of the `total` whose rows are in none of
    them, because they were quarantined or dropped.
    """
    counts: dict[str, Any] = {}
    for role in ("train", "val"):
        override, confirmed = parts[role]["override"], parts[role]["confirmed"]
        found = {name: (override == to) & ~confirmed for name, to in DIRECTIONS.items()}
        found["confirmed"] = confirmed
        counts[role] = {name: int(rows.sum()) for name, rows in found.items()}
    return counts | {"unused": total - sum(n for of in counts.values() for n in of.values())}


def _read_matched(path: Path, rows: pd.DataFrame, params: PrepareParams) -> dict[int, Override]:
    """Positions in `rows`, and what is said of them."""
    problems = Problems()
    entries = _read_entries(path, problems)
    matched = _match_entries(entries, rows, params, problems)
    if problems.count:
        raise ManifestError(str(path), problems.list_texts(), ADVICE, count=problems.count)
    return matched


def _read_entries(path: Path, problems: Problems) -> list[Override]:
    """Lines whose role and labels are valid."""
    if not path.is_file():
        advice = "data.label_overrides: relative to the folder of params.yaml, or null for none."
        raise ManifestError(str(path), ["there is no such file"], advice)
    entries = []
    with open_table(path, HEADER) as table:
        if table.header != HEADER:
            problem = f"the header is {','.join(table.header)!r}, not {','.join(HEADER)!r}"
            raise ManifestError(str(path), [f"{table.where}: {problem}"])
        for block in table.iterate_blocks(problems, HEADER):
            for line, role, name, *labels, _ in zip(block.lines, *block.columns, strict=True):
                found = _find_problems(role, dict(zip(HEADER[2:4], labels, strict=True)))
                for problem in found:
                    problems.add(line, problem)
                if not found:
                    entries.append(Override(line, role, name, *(LABELS[text] for text in labels)))
    return entries


def _find_problems(role: str, labels: Mapping[str, str]) -> list[str]:
    found = [
        f"{column} {text!r} is neither 0 nor 1"
        for column, text in labels.items()
        if text not in LABELS
    ]
    if role == "test":
        found.append("rows of test have no label to override")
    elif role not in ("train", "val"):
        found.append(f"role {role!r} is neither train nor val")
    return found


def _match_entries(
    entries: list[Override], rows: pd.DataFrame, params: PrepareParams, problems: Problems
) -> dict[int, Override]:
    """What fits the lists as they are now, by position in `rows`.

    The role val means rows of the val list, rows held out of train, and without a val list all of
    train: val is carved out of it.
    """
    places = _find_places({entry.img_name for entry in entries}, rows)
    held = find_held(rows, params.split.hold_out)
    labels = rows["label"].to_numpy()
    matched: dict[int, Override] = {}
    for entry in entries:
        found = list(places["train", entry.img_name])
        if entry.role == "val":
            found = [place for place in found if params.data.val is None or held[place]]
            found += places["val", entry.img_name]
        if problem := _compare(entry, [int(labels[place]) for place in found], places):
            problems.add(entry.line, problem)
            continue
        earlier = matched.setdefault(found[0], entry)
        if earlier.corrected != entry.corrected:
            problems.add(
                entry.line, f"{entry.img_name!r} is corrected otherwise in line {earlier.line}"
            )
    return matched


def _find_places(names: set[str], rows: pd.DataFrame) -> dict[tuple[str, str], list[int]]:
    """Positions of rows by list and name. Cells of `review.csv` have no spaces around them."""
    stripped = rows["img_name"].str.strip()
    hits = np.flatnonzero(stripped.isin(names))
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    found = zip(rows["role"].iloc[hits], stripped.iloc[hits], hits, strict=True)
    for role, name, place in found:
        places[role, name].append(int(place))
    return places


def _compare(
    entry: Override, labels: list[int], places: Mapping[tuple[str, str], list[int]]
) -> str:
    """Why the entry fits no row, or an empty string; `labels` of the rows that it may mean."""
    name = repr(entry.img_name)
    if not labels:
        others = [role for role in ("train", "val", "test") if places.get((role, entry.img_name))]
        hint = f", but of {others[0]}" if others else ""
        return f"{name} is no image of {entry.role}{hint}"
    if len(labels) > 1:
        return f"{name} may mean {len(labels)} images: rename all but one"
    if labels[0] != entry.label:
        return f"{name} had the label {entry.label} when it was looked at, now it has {labels[0]}"
    return ""
