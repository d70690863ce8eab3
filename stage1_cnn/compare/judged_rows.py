"""The rows that all runs of a comparison are judged on, and what none of them may learn from.

judged = choose_judged(params.compare, train)
rows = judged.leave_out(train.rows_to_learn(params.compare.fold))
judged.check_unknown_to(rows, train)             # raises LeakageError
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from features.core.auc import Mask
from features.core.manifest import NO_FOLD, Ids, LearnRows, Manifest, count_classes
from features.errors import ConfigError, LeakageError
from features.settings.compare import Compare
from features.settings.sections import suggest_name


@dataclass(frozen=True)
class JudgedRows:
    """Rows of train that no run learns from."""

    row_ids: Ids
    name: str
    """`fold 0`, or `generator splice of fold 0` where a domain is left out."""
    unseen: Ids
    """Rows of the domain that is left out: none is learned from, of any fold."""

    def leave_out(self, rows: LearnRows) -> LearnRows:
        """`rows` without those of the domain."""
        return replace(rows, row_ids=np.setdiff1d(rows.row_ids, self.unseen))

    def check_unknown_to(self, rows: LearnRows, train: Manifest) -> None:
        """Raises `LeakageError` with the judged rows whose group is learned from."""
        known = np.isin(train.groups[self.row_ids], train.groups[rows.row_ids])
        if known.any():
            raise LeakageError("a comparison is judged on learned groups", self.row_ids[known])


def choose_judged(compare: Compare, train: Manifest) -> JudgedRows:
    """Fold `compare.fold`, or what it holds of the domain that `compare.hold_out` names.

    A class that the domain lacks, such as reals of a generator, is that of the fold. Nobody learns
    from a group of the fold, so not from the original of a judged fake either. Raises `ConfigError`
    with all problems: no such fold or domain, a class without rows.
    """
    known = sorted({int(f) for f in train.folds} - {NO_FOLD})
    if compare.fold not in known:
        raise ConfigError("params.yaml", [f"compare.fold {compare.fold}: train has folds {known}"])
    judged = JudgedRows(
        train.fold_rows(compare.fold), f"fold {compare.fold}", np.empty(0, np.int64)
    )
    if compare.hold_out:
        judged = _leave_domain_out(compare.hold_out, train, judged)
    reals, fakes = count_classes(train.labels[judged.row_ids])
    if not reals or not fakes:
        problem = f"{judged.name} has {reals} real and {fakes} fake rows; both are needed"
        raise ConfigError("params.yaml", [f"compare.{problem}"])
    return judged


def find_domains(
    train: Manifest, wanted: Mapping[Any, Sequence[str]], source: str, option: str
) -> Mask:
    """Which `(n,)` rows of train are of these generators and sources.

    Raises `ConfigError` about `source` with all that no row has; `option` stands before a column.
    """
    problems = []
    inside = np.zeros(len(train), bool)
    for column, values in wanted.items():
        found = train.read(column).to_numpy(str)
        domains = sorted(set(found) - {""})
        if not domains:
            problems.append(f"{option}{column}: the rows name no {column} (data.columns.{column})")
            continue
        for value in values:
            if value in domains:
                inside |= found == value
            else:
                advice = suggest_name(value, domains)
                problems.append(f"{option}{column}: no row has {value!r}{advice}")
    if problems:
        raise ConfigError(source, problems)
    return inside


def _leave_domain_out(
    wanted: Mapping[Any, Sequence[str]], train: Manifest, fold: JudgedRows
) -> JudgedRows:
    inside = find_domains(train, wanted, "params.yaml", "compare.hold_out.")
    counts = count_classes(train.labels[inside])
    lacking = [label for label, rows in enumerate(counts) if not rows]
    rows = fold.row_ids
    judged = rows[inside[rows] | np.isin(train.labels[rows], lacking)]
    name = " and ".join(f"{column} {', '.join(values)}" for column, values in wanted.items())
    return JudgedRows(judged, f"{name} of {fold.name}", np.flatnonzero(inside).astype(np.int64))
