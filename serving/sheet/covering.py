"""Where a score comes from: how far it moves when a place of the picture is covered.

(Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.) It needs
scores alone, so it works for graphs as for torch. A patch is no part of a picture either: its edges
can move a score by themselves.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from features.runtime.memory import count_workers
from serving.ensemble.ensemble import TOGETHER, Ensemble
from serving.scoring.scorer import SquareScores
from serving.scoring.views import Squares
from stage2_ensemble.columns.columns import Floats

GRID = 8
"""Places along each side."""
GREY = 127
WHOLE = ""
"""In place of a backbone's name: what ships."""


@dataclass(frozen=True)
class CoverMap:
    """Of one scorer."""

    scorer: str
    """A backbone, or `WHOLE`."""
    log_odds: float
    """Of the picture as it is, calibrated."""
    changes: Floats
    """`(GRID, GRID)`: by how much they are higher than with the place covered."""


def cover_squares(square: Squares) -> Squares:
    """`(s, s, 3)` to `(1 + GRID², s, s, 3)`: as it is, then with each place grey, by lines."""
    edges = np.linspace(0, len(square), GRID + 1).round().astype(int)
    covered = np.repeat(square[None], 1 + GRID * GRID, axis=0)
    for place in range(GRID * GRID):
        y, x = divmod(place, GRID)
        covered[1 + place, edges[y] : edges[y + 1], edges[x] : edges[x + 1]] = GREY
    return covered


def map_covering(ensemble: Ensemble, square: Squares) -> list[CoverMap]:
    """Of what ships, then of each backbone that it asks, the mean over its folds.

    `square`: as the reader makes them.
    """
    covered = cover_squares(square)
    batches = [covered[start : start + TOGETHER] for start in range(0, len(covered), TOGETHER)]
    with ThreadPoolExecutor(count_workers()) as pool:
        scores = list(pool.map(ensemble.score_squares, batches))
    return list(_build_maps(_read_scores(ensemble, scores)))


def _read_scores(ensemble: Ensemble, scores: list[SquareScores]) -> dict[str, Floats]:
    """Calibrated log-odds of all squares, by what ships and by backbone."""
    second_stage = ensemble.scorer.second_stage
    rules, shipped = second_stage.rules, second_stage.shipped
    parts = [rules.read_all(part.members) for part in scores]
    members = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = {WHOLE: rules.read(shipped, np.concatenate([part.log_odds for part in scores]))}
    for backbone in ensemble.scorer.needs.backbones:
        own = [members[f"{backbone}-{fold}"] for fold in second_stage.folds]
        found[backbone] = np.mean(own, axis=0)
    return found


def _build_maps(scores: Mapping[str, Floats]) -> Iterator[CoverMap]:
    for name, log_odds in scores.items():
        changes = (log_odds[0] - log_odds[1:]).reshape(GRID, GRID)
        yield CoverMap(name, float(log_odds[0]), changes)
