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
    """The rows of all roles by what a table may call them."""

    def __init__(self, manifests: Mapping[Role, Manifest]) -> None:
        self._by_name: dict[str, list[Place]] = {}
        self._by_path: dict[str, list[Place]] = {}
        for role, manifest in manifests.items():
            columns = (manifest.table["img_name"].tolist(), manifest.table["path"].tolist())
            for row, (name, path) in enumerate(zip(*columns, strict=True)):
                self._by_name.setdefault(name, []).append((role, row))
                self._by_path.setdefault(path, []).append((role, row))
        self._indexes: list[tuple[PictureIndex, dict[str, list[Place]]]] = []

    def find(self, name: str) -> tuple[list[Place], bool]:
        """The rows that it may mean, and whether it is exactly theirs."""
        for exact in (self._by_path, self._by_name):
            if name in exact:
                return exact[name], True
        if not self._indexes:  # only for names that need them
            self._indexes = [(PictureIndex(k), k) for k in (self._by_path, self._by_name)]
        for index, known in self._indexes:
            meant, _ = index.find_meant(name)
            if meant:
                return [place for one in meant for place in known[one]], False
        return [], False

    def describe(self, place: Place, manifests: Mapping[Role, Manifest]) -> str:
        """`'trainset/a.png' of train`."""
        role, row = place
        return f"{manifests[role].table['path'].iloc[row]!r} of {role}"


def match_rows(
    names: Sequence[str],
    lines: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    manifests: Mapping[Role, Manifest],
    problems: Problems,
) -> Matches:
    """Adds a problem for each name that may mean several rows, and for a second, other score."""
    known = RowNames(manifests)
    places = {role: np.full(len(m), NOBODY, np.int64) for role, m in manifests.items()}
    strange: list[str] = []
    repeated = loose = 0
    numbers = lines.tolist()
    for place, name in enumerate(names):
        meant, is_exact = known.find(name)
        if not meant:
            strange.append(name)
            continue
        loose += not is_exact
        if len(meant) > 1:
            options = " or ".join(known.describe(option, manifests) for option in meant[:3])
            problems.add(numbers[place], f"{name!r} may mean {options}: write its path")
            continue
        role, row = meant[0]
        above = int(places[role][row])
        if above == NOBODY:
            places[role][row] = place
        elif scores[above] == scores[place] or np.isnan(scores[[above, place]]).all():
            repeated += 1
        else:
            text = f"{name!r} has another score than in {problems.noun} {numbers[above]}"
            problems.add(numbers[place], text)
    return Matches(places, repeated, strange, loose)
