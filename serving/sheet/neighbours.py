"""The pictures of train that a bundle brings along and that the networks find most alike."""

from dataclasses import dataclass

import numpy as np

from serving.ensemble.ensemble import Ensemble
from serving.format.neighbours import NeighbourPicture, read_neighbours
from serving.reading.shown import ShownRows
from stage2_ensemble.decisions.conformal import FAKE, REAL
from stage2_ensemble.gallery.neighbours import find_neighbours

SHOWN = 4
"""Of each class."""


@dataclass(frozen=True)
class NearPicture:
    """One of them."""

    picture: NeighbourPicture
    thumbnail: bytes
    """WebP."""
    similarity: float
    """Cosine of centred embeddings, in -1 … 1, the mean over backbones."""
    usual: tuple[float, float]
    """Quartiles of what pictures of its class have to the nearest other one."""


def find_near_pictures(ensemble: Ensemble, row: ShownRows) -> tuple[NearPicture, ...]:
    """The nearest of reals, then of fakes, to one row; none where none travel along.

    By the members of one fold that what ships asks, which learned from none of these pictures.
    """
    if not ensemble.facts.neighbours:
        return ()
    folder = ensemble.bundle.folder
    pool = read_neighbours(folder)
    facts = pool.facts
    columns = ensemble.scorer.ask_members(row).columns
    [own] = [c.keep(facts.backbones) for c in columns if c.fold == facts.fold]
    places, similarities = find_neighbours(own.embeddings, pool.embeddings, len(facts.pictures))
    labels = np.array([facts.pictures[place].label for place in places[0]])
    found = []
    for label in (REAL, FAKE):
        for rank in np.flatnonzero(labels == label)[:SHOWN]:
            picture = facts.pictures[places[0, rank]]
            thumbnail = (folder / picture.file).read_bytes()
            similarity = float(similarities[0, rank])
            found.append(NearPicture(picture, thumbnail, similarity, facts.usual[picture.label]))
    return tuple(found)
