"""Where a score comes from: how far it moves when a place of the picture is covered.

(Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.) It needs
scores alone, so it works for graphs as for torch. A patch is no part of a picture either: its edges
can move a score by themselves.

A place is the same part of the picture whatever a network sees of it. Of several squares those
alone are scored again that show it.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from features.core.manifest import Ids
from features.runtime.memory import count_workers
from features.videos.addresses import Box
from serving.ensemble.ensemble import Ensemble
from serving.format.facts import Sight, group_by_file
from serving.reading.canvases import Canvas, Canvases
from serving.reading.shown import RowSquares, ShownRows
from serving.scoring.scorer import TOGETHER, EnsembleScores
from serving.sheet.frames import PictureFrame, frame_part
from stage1_cnn.graphs.sessions import Single
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
    """Of the row as it is, calibrated."""
    changes: Floats
    """`(GRID, GRID)`: by how much they are higher than with the place covered."""
    loudest: PictureFrame | None = None
    """Of a backbone that sees several squares, the one that speaks loudest for fake."""


def cover_places(canvases: Canvases) -> ShownRows:
    """`1 + GRID²` rows: as it is, then with each place grey, by lines."""
    return ShownRows(
        1 + GRID * GRID, {sight: _cover_canvas(canvas) for sight, canvas in canvases.items()}
    )


def _cover_canvas(canvas: Canvas) -> RowSquares:
    own = canvas._replace(pixels=canvas.pixels.copy())
    whole = own.cut()
    squares, places, count = [whole], [np.arange(len(whole))], len(whole)
    down, across = (_split_side(length) for length in own.pixels.shape[:2])
    for place in range(GRID * GRID):
        y, x = divmod(place, GRID)
        patch = own.pixels[down[y] : down[y + 1], across[x] : across[x + 1]]
        kept = patch.copy()
        patch[:] = GREY
        covered = own.cut()
        patch[:] = kept
        changed = (covered != whole).any(axis=(1, 2, 3))
        squares.append(covered[changed])
        seen = np.arange(len(whole))
        seen[changed] = count + np.arange(changed.sum())
        places.append(seen)
        count += len(squares[-1])
    counts = np.full(len(places), len(whole))
    return RowSquares(np.concatenate(squares), np.concatenate(places), counts)


def _split_side(length: int) -> Ids:
    return np.linspace(0, length, GRID + 1).round().astype(np.int64)


def map_covering(ensemble: Ensemble, canvases: Canvases) -> list[CoverMap]:
    """Of what ships, then of each backbone that it asks, the mean over its folds.

    `canvases`: of one row, as the reader draws them.
    """
    covered = cover_places(canvases)
    positions = np.arange(len(covered))
    batches = [
        covered.take(positions[start : start + TOGETHER])
        for start in range(0, len(covered), TOGETHER)
    ]
    with ThreadPoolExecutor(count_workers()) as pool:
        scores = list(pool.map(ensemble.score_rows, batches))
    return list(_build_maps(_read_scores(ensemble, scores), _find_loudest(ensemble, canvases)))


def _read_scores(ensemble: Ensemble, scores: list[EnsembleScores]) -> dict[str, Floats]:
    """Calibrated log-odds of all rows, by what ships and by backbone."""
    second_stage = ensemble.scorer.second_stage
    rules, shipped = second_stage.rules, second_stage.shipped
    parts = [rules.read_all(part.members) for part in scores]
    members = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = {WHOLE: rules.read(shipped, np.concatenate([part.log_odds for part in scores]))}
    for backbone in ensemble.scorer.needs.backbones:
        own = [members[f"{backbone}-{fold}"] for fold in second_stage.folds]
        found[backbone] = np.mean(own, axis=0)
    return found


def _find_loudest(ensemble: Ensemble, canvases: Canvases) -> dict[str, PictureFrame]:
    """By backbone that sees several squares, the one of the highest mean over its folds."""
    scores: dict[str, list[Single]] = {}
    sights: dict[str, Sight] = {}
    for members in group_by_file(ensemble.scorer.needed).values():
        canvas = canvases[members[0].sees]
        if len(canvas.corners) > 1:
            log_odds = ensemble.scorer.score_squares(members[0], canvas.cut()).log_odds
            for facts in members:
                scores.setdefault(facts.backbone, []).append(log_odds[:, facts.head])
                sights[facts.backbone] = facts.sees
    found = {}
    for backbone, sight in sights.items():
        canvas = canvases[sight]
        top, left = canvas.corners[np.mean(scores[backbone], axis=0).argmax()].tolist()
        square = Box(left, top, canvas.side, canvas.side)
        found[backbone] = frame_part(square, *canvas.pixels.shape[:2])
    return found


def _build_maps(
    scores: Mapping[str, Floats], loudest: Mapping[str, PictureFrame]
) -> Iterator[CoverMap]:
    for name, log_odds in scores.items():
        changes = (log_odds[0] - log_odds[1:]).reshape(GRID, GRID)
        yield CoverMap(name, float(log_odds[0]), changes, loudest.get(name))
