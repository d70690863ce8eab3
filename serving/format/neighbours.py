"""Pictures of train that a bundle brings along, for evidence sheets to show the nearest of.

Thumbnails, names, classes, and embeddings by the members of one fold, which learned from none of
these pictures: embeddings of other networks are not comparable.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.core.files import write_array, write_json
from features.settings.sections import Section

NEIGHBOURS = "neighbours"
"""Folder."""
_FACTS = f"{NEIGHBOURS}/neighbours.json"


class NeighbourPicture(Section):
    """One picture of train."""

    name: str
    """As in the project's lists."""
    label: Literal["real", "fake"]
    file: str
    """Its thumbnail, WebP, relative to the bundle."""


class NeighbourFacts(Section):
    """The whole of `neighbours.json`."""

    fold: int
    """Whose members gave the embeddings."""
    backbones: tuple[str, ...]
    """Those that what ships asks."""
    usual: dict[Literal["real", "fake"], tuple[float, float]]
    """By class, the quartiles of how similar its pictures here are to the nearest other one."""
    pictures: tuple[NeighbourPicture, ...]


@dataclass(frozen=True)
class Neighbours:
    """`n` pictures of train."""

    facts: NeighbourFacts
    embeddings: tuple[npt.NDArray[np.float16], ...]
    """`(n, d)` of each backbone."""


def write_neighbours(folder: Path, neighbours: Neighbours) -> None:
    """All but the thumbnails, into a bundle."""
    facts = neighbours.facts
    write_json(folder / _FACTS, facts.model_dump(mode="json"))
    for backbone, rows in zip(facts.backbones, neighbours.embeddings, strict=True):
        write_array(_locate_embeddings(folder, backbone), rows)


def read_neighbours(folder: Path) -> Neighbours:
    """Of a bundle that says it has some, and whose files were checked."""
    facts = NeighbourFacts.model_validate_json((folder / _FACTS).read_text(encoding="utf-8"))
    paths = [_locate_embeddings(folder, backbone) for backbone in facts.backbones]
    return Neighbours(facts, tuple(np.load(path, allow_pickle=False) for path in paths))


def _locate_embeddings(folder: Path, backbone: str) -> Path:
    return folder / NEIGHBOURS / f"{backbone}.npy"
