"""Which row of which role a name of a table means: as pictures of lists are found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.core.manifest import Manifest, Role
from features.lists.csv_blocks import Problems
from features.lists.pictures import PictureIndex

Place = tuple[Role, int]
"""A role and a `row_id` of it."""
NOBODY = -1
SHOWN = 3
"""Pictures that a name may mean, in a message."""


@dataclass(frozen=True)
class Matches:
    """For each role `(n,)` the place in the table of each row's score, -1 where it has none."""

    places: dict[Role, npt.NDArray[np.int64]]
    repeated: int
    """Lines of the same score as one above."""
    strange: list[str]
    """Names that no row has."""
    loose: int
    """Names that were found in another spelling, case or folder, or without their ending."""


class RowNames:
    """The pictures of all roles by what a table may call them: their path, or their name."""

    def __init__(self, manifests: Mapping[Role, Manifest]) -> None:
        self._rows: dict[str, list[Place]] = {}
        self._paths: dict[str, list[str]] = {}
        for role, manifest in manifests.items():
            columns = (manifest.read("img_name").tolist(), manifest.read("path").tolist())
            for row, (name, path) in enumerate(zip(*columns, strict=True)):
                self._rows.setdefault(path, []).append((role, row))
                paths = self._paths.setdefault(name, [])
                if path not in paths:
                    paths.append(path)
        self._indexes: list[PictureIndex] = []

    def find_paths(self, name: str) -> tuple[list[str], bool]:
        """Paths of the pictures that it may mean, and whether it is exactly theirs."""
        if name in self._rows:
            return [name], True
        if name in self._paths:
            return self._paths[name], True
        if not self._indexes:  # only for names that need them
            self._indexes = [PictureIndex(self._rows), PictureIndex(self._paths)]
        by_path, by_name = self._indexes
        if meant := by_path.find_meant(name)[0]:
            return meant, False
        paths = (path for one in by_name.find_meant(name)[0] for path in self._paths[one])
        return list(dict.fromkeys(paths)), False

    def list_rows(self, path: str) -> list[Place]:
        """Its rows: one picture may stand in several lists."""
        return self._rows[path]


def match_rows(
    names: Sequence[str],
    lines: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    manifests: Mapping[Role, Manifest],
    problems: Problems,
) -> Matches:
    """Adds a problem for each name that may mean several pictures, and for a second, other score.

    `scores` `(n,)` are those of the `names`, NaN where there is none.
    """
    known = RowNames(manifests)
    places = {role: np.full(len(m), NOBODY, np.int64) for role, m in manifests.items()}
    strange: list[str] = []
    repeated = loose = 0
    taken: dict[str, int] = {}
    for place, (name, line) in enumerate(zip(names, lines.tolist(), strict=True)):
        paths, is_exact = known.find_paths(name)
        if not paths:
            strange.append(name)
            continue
        loose += not is_exact
        if len(paths) > 1:
            options = " or ".join(map(repr, paths[:SHOWN]))
            problems.add(line, f"{name!r} may mean {options}: write which")
            continue
        first = taken.setdefault(paths[0], place)
        if first == place:
            for role, row in known.list_rows(paths[0]):
                places[role][row] = place
        elif scores[first] == scores[place] or np.isnan(scores[[first, place]]).all():
            repeated += 1
        else:
            above = f"{problems.noun} {lines[first]}"
            problems.add(line, f"{name!r} has another score than its picture in {above}")
    return Matches(places, repeated, strange, loose)
