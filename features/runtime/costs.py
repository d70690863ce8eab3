"""How long members took to train and to score: measured beside the results, never in them.

On a CPU same seed and machine give the same bytes, so no output of a stage holds seconds. Each
measurement is a small file in `.seconds`, which neither git nor DVC knows and which changes no
result. Without it, or where it is of another network than the one in use, the cost is not known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from features.core.files import read_sealed, sweep_beside, write_sealed
from features.errors import IntegrityError
from features.runtime.terminal import log

FOLDER = Path(".seconds")
Work = Literal["train", "dump"]


@dataclass(frozen=True)
class Measured:
    """The last run of one piece of work, from its start or from a saved state."""

    member: str
    """sha256 of the member's weights."""
    seconds: float
    images: int
    """That went through the network in these seconds."""
    total: int
    """Of the whole work: more than `images` where a run before this one had done a part."""


@dataclass(frozen=True)
class Cost:
    """Of one backbone, all its folds together; `None` where any is not known."""

    minutes: float | None
    """Of training, as if done in one go."""
    seconds: float | None
    """Of scoring 1,000 images."""


UNKNOWN = Cost(None, None)


def record_seconds(
    work: Work, backbone: str, fold: int, measured: Measured, folder: Path = FOLDER
) -> None:
    """Writes the measurement over an older one; nothing where the run had nothing left to do."""
    path = _find_file(folder, work, backbone, fold)
    if measured.images:
        write_sealed(path, asdict(measured) | {"seconds": round(measured.seconds, 3)})
    else:  # killed in here, the run before had done all
        sweep_beside(path)


def read_costs(
    backbones: Sequence[str], digests: Mapping[int, Sequence[str]], folder: Path = FOLDER
) -> dict[str, Cost]:
    """By backbone; `digests`: by fold the sha256 of each backbone's member, in their order."""
    costs = {}
    for place, backbone in enumerate(backbones):
        members = {fold: by_place[place] for fold, by_place in digests.items()}
        train, dump = (_read(folder, work, backbone, members) for work in ("train", "dump"))
        costs[backbone] = Cost(
            sum(m.seconds / m.images * m.total for m in train) / 60 if train else None,
            1000 * sum(m.seconds / m.images for m in dump) if dump else None,
        )
    return costs


def _find_file(folder: Path, work: str, backbone: str, fold: int) -> Path:
    return folder / f"{work}-{backbone}-{fold}.json"


def _read(
    folder: Path, work: str, backbone: str, members: Mapping[int, str]
) -> list[Measured] | None:
    """Of all folds; `None` where one is missing, damaged or of another network."""
    found = []
    for fold, digest in members.items():
        path = _find_file(folder, work, backbone, fold)
        if not path.is_file():
            return None
        try:
            measured = Measured(**read_sealed(path, work))
        except (IntegrityError, TypeError):  # TypeError: of another version of this project
            log.warning("%s is damaged: what %s costs is not known", path, backbone)
            return None
        if measured.member != digest:
            return None
        found.append(measured)
    return found
