"""Two bundles' rows of the same pictures, and what their differences say."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.core.auc import AucEstimate, compare_aucs, measure_auc
from features.errors import PictureError
from serving.ensemble.rows import LabelledPicture
from stage2_ensemble.decisions.conformal import FAKE, REAL
from stage2_ensemble.measures.shares import Share, estimate_share

TARGETS = {"0": 0, "1": 1, REAL: 0, FAKE: 1}


@dataclass(frozen=True)
class Pair:
    """One picture, as the first bundle and the second have it."""

    first: LabelledPicture
    second: LabelledPicture

    @property
    def is_readable(self) -> bool:
        """By both."""
        return self.first.is_readable and self.second.is_readable

    @property
    def difference(self) -> float:
        """Of log-odds, second minus first."""
        return self.second.log_odds - self.first.log_odds


@dataclass(frozen=True)
class JudgedPair:
    """How good both are on pictures whose class is known; each counts as a group of its own."""

    rows: int
    aucs: tuple[AucEstimate, AucEstimate]
    difference: AucEstimate
    """Second minus first."""
    errors: tuple[Mapping[str, Share], Mapping[str, Share]]
    """Of each bundle: the share of reals that are called fake, and of fakes called real."""


@dataclass(frozen=True)
class BundleDifference:
    """All that is told."""

    rows: int
    unreadable: int
    """By either."""
    flips: Mapping[tuple[str, str], int]
    """By label of the first and of the second, where they differ."""
    largest: Sequence[Pair]
    """The largest differences of log-odds, either way."""
    judged: JudgedPair | None

    def to_json(self) -> dict[str, Any]:
        """As a program wants it."""
        facts: dict[str, Any] = {
            "rows": self.rows,
            "unreadable": self.unreadable,
            "flips": {f"{a} -> {b}": count for (a, b), count in self.flips.items()},
            "largest": [
                {"img_name": p.first.name, "first": p.first.score, "second": p.second.score}
                for p in self.largest
            ],
        }
        if self.judged:
            pairs = zip(self.judged.aucs, self.judged.errors, strict=True)
            first, second = (
                auc.to_metrics() | {name: share.to_json() for name, share in errors.items()}
                for auc, errors in pairs
            )
            difference = self.judged.difference.to_metrics()
            facts |= {"first": first, "second": second, "difference": difference}
        return facts


def compare_pairs(
    pairs: Sequence[Pair], labels: Mapping[str, int] | None, shown: int
) -> BundleDifference:
    """`labels`: by name 0 real, 1 fake; pictures that they do not name are not judged."""
    readable = [pair for pair in pairs if pair.is_readable]
    both = Counter((pair.first.label, pair.second.label) for pair in readable)
    flips = {(a, b): count for (a, b), count in sorted(both.items()) if a != b}
    largest = sorted(readable, key=lambda pair: -abs(pair.difference))[:shown]
    judged = None if labels is None else _judge(readable, labels)
    return BundleDifference(len(pairs), len(pairs) - len(readable), flips, largest, judged)


def _judge(pairs: Sequence[Pair], labels: Mapping[str, int]) -> JudgedPair:
    known = [pair for pair in pairs if pair.first.name in labels]
    if not known:
        problem = "none of its names is that of a picture that both can read"
        raise PictureError("--labels", [problem])
    targets = np.array([labels[pair.first.name] for pair in known], np.int8)
    groups = np.arange(len(known))
    sides = [[pair.first for pair in known], [pair.second for pair in known]]
    scores = [np.array([row.log_odds for row in rows]) for rows in sides]
    aucs = [measure_auc(targets, own, groups) for own in scores]
    errors = []
    for rows in sides:
        called = np.array([row.label for row in rows])
        errors.append(
            {
                "reals_called_fake": estimate_share(
                    called[targets == 0] == FAKE, groups[targets == 0]
                ),
                "fakes_called_real": estimate_share(
                    called[targets == 1] == REAL, groups[targets == 1]
                ),
            }
        )
    difference = compare_aucs(targets, groups, scores[1], scores[0])
    return JudgedPair(len(known), (aucs[0], aucs[1]), difference, (errors[0], errors[1]))


def read_targets(path: Path) -> dict[str, int]:
    """By name 0 or 1, from the columns `img_name` and `target` of a CSV.

    Raises `PictureError` with all lines that are none.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PictureError(str(path), [f"it cannot be read: {error}"]) from error
    if not {"img_name", "target"} <= set(reader.fieldnames or ()):
        raise PictureError(str(path), ["its first line does not name img_name and target"])
    problems, found = [], {}
    for number, row in enumerate(rows, 2):
        target = TARGETS.get((row["target"] or "").strip())
        if target is None:
            problems.append(f"line {number}: target {row['target']!r} is none of 0, 1, real, fake")
        else:
            found[row["img_name"]] = target
    if problems:
        raise PictureError(str(path), problems)
    return found
