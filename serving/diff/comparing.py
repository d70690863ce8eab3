"""Two bundles' rows of the same pictures, and what their differences say."""

import csv
import heapq
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.core.auc import AucEstimate, compare_aucs, measure_auc
from features.core.manifest import Ids
from features.errors import PictureError
from serving.ensemble.rows import LabelledPicture
from serving.reading.texts import read_given_text
from stage2_ensemble.columns.columns import Labels
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
    pairs: Iterable[Pair], labels: Mapping[str, int] | None, shown: int
) -> BundleDifference:
    """`labels`: by name 0 real, 1 fake; pictures that they do not name are not judged.

    Pairs may be many: of most of them counts alone are kept.
    """
    rows, both, known = Counter[bool](), Counter[tuple[str, str]](), list[_Known]()

    def pass_readable() -> Iterator[Pair]:
        for pair in pairs:
            rows[pair.is_readable] += 1
            if pair.is_readable:
                first, second = pair.first, pair.second
                both[first.label, second.label] += 1
                if labels is not None and first.name in labels:
                    sides = (first.log_odds, second.log_odds), (first.label, second.label)
                    known.append(_Known(labels[first.name], *sides))
                yield pair

    # Of none it would not look at any.
    largest = heapq.nlargest(max(shown, 1), pass_readable(), lambda p: abs(p.difference))[:shown]
    flips = {(a, b): count for (a, b), count in sorted(both.items()) if a != b}
    judged = None if labels is None else _judge(known)
    return BundleDifference(rows.total(), rows[False], flips, largest, judged)


class _Known(NamedTuple):
    """What is kept of a picture whose class is known, as the first bundle and the second say."""

    target: int
    log_odds: tuple[float, float]
    called: tuple[str, str]


def _judge(known: Sequence[_Known]) -> JudgedPair:
    if not known:
        problem = "none of its names is that of a picture that both can read"
        raise PictureError("--labels", [problem])
    targets = np.array([row.target for row in known], np.int8)
    groups = np.arange(len(known))
    scores = np.array([row.log_odds for row in known]).T
    called = np.array([row.called for row in known]).T
    first, second = (measure_auc(targets, own, groups) for own in scores)
    difference = compare_aucs(targets, groups, scores[1], scores[0])
    errors = [_measure_errors(targets, own, groups) for own in called]
    return JudgedPair(len(known), (first, second), difference, (errors[0], errors[1]))


def _measure_errors(targets: Labels, called: npt.NDArray[np.str_], groups: Ids) -> dict[str, Share]:
    reals, fakes = targets == 0, targets == 1
    return {
        "reals_called_fake": estimate_share(called[reals] == FAKE, groups[reals]),
        "fakes_called_real": estimate_share(called[fakes] == REAL, groups[fakes]),
    }


def read_targets(path: Path) -> dict[str, int]:
    """By name 0 or 1, from the columns `img_name` and `target` of a CSV.

    Raises `PictureError` with all lines that are none, or contradict one before.
    """
    reader = csv.DictReader(io.StringIO(read_given_text(path)))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise PictureError(str(path), [f"no CSV: {error}"]) from None
    if not {"img_name", "target"} <= set(reader.fieldnames or ()):
        raise PictureError(str(path), ["its first line does not name img_name and target"])
    problems: list[str] = []
    found: dict[str, int] = {}
    for number, row in enumerate(rows, 2):
        target = TARGETS.get((row["target"] or "").strip())
        if target is None:
            problems.append(f"line {number}: target {row['target']!r} is none of 0, 1, real, fake")
        elif found.setdefault(row["img_name"], target) != target:
            problems.append(
                f"line {number}: {row['img_name']!r} is real in one line, fake in another"
            )
    if problems:
        raise PictureError(str(path), problems)
    return found
