"""What `python -m features.outside` does.

run(load_params(MembersParams))                  # writes artifacts/outside
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from features.artifacts.outside import FOLDER, DetectorScores, write_outside, write_summary
from features.core.auc import AucEstimate, measure_auc
from features.core.files import digest_bytes
from features.core.manifest import (
    ROLES,
    Manifest,
    Role,
    count_classes,
    find_headline_rows,
    read_manifest,
)
from features.errors import ManifestError
from features.lists.csv_blocks import Problems
from features.outside.matching import NOBODY, Matches, match_rows
from features.outside.score_table import ScoreTable, read_score_table
from features.settings.members import MembersParams, OutsideScores

MANIFEST = Path("artifacts/manifest")
OUT = FOLDER
BOUND = 1e-7
"""Probabilities are kept this far from 0 and from 1, where float32 has no number closer to 1 than
6e-8: log-odds of -16.1 to +16.1."""
LEAST = 10
"""Rows of each class that a detector must have scored in each fold that is learned from."""
Floats = npt.NDArray[np.float64]
_log = logging.getLogger("forgerystack")


def read_detector(
    name: str, settings: OutsideScores, manifests: Mapping[Role, Manifest]
) -> tuple[ScoreTable, Matches]:
    """A detector's table, and which row of it is about which row of a role.

    Raises `ManifestError` with every problem of the table.
    """
    problems = Problems()
    table = read_score_table(settings, name, problems)
    for place in np.flatnonzero(_find_wrong(table.scores, settings)).tolist():
        score = table.scores[place]
        text = f"score {score:g} is no {settings.kind}, which outside.{name}.kind says"
        problems.add(int(table.lines[place]), text)
    matches = match_rows(table.names, table.lines, table.scores, manifests, problems)
    texts, count = problems.list_texts(), problems.count
    if not any((places != NOBODY).any() for places in matches.places.values()):
        example = f", such as {matches.strange[0]!r}" if matches.strange else ""
        texts.append(f"none of its {len(table.names):,} names is a row{example}")
        count += 1
    if count:
        raise ManifestError(settings.scores, texts, count=count)
    return table, matches


def _find_wrong(scores: Floats, settings: OutsideScores) -> npt.NDArray[np.bool_]:
    """`(n,)`: infinite ones, and with `probability` those outside 0 … 1."""
    wrong = np.isinf(scores)
    if settings.kind == "probability":
        wrong |= (scores < 0) | (scores > 1)
    return wrong


def build_scores(
    name: str,
    settings: OutsideScores,
    table: ScoreTable,
    matches: Matches,
    manifests: Mapping[Role, Manifest],
) -> dict[Role, DetectorScores]:
    """Log-odds and embeddings by row of each role.

    They are not corrected to the classes of train: what the detector learned from is not known.
    """
    arrays = {}
    for role in manifests:
        places = matches.places[role]
        scores, clipped = convert_scores(_take(table.scores, places), settings.kind)
        arrays[role] = (scores, _take(table.embeddings, places).astype(np.float16), clipped)
    told = [np.ascontiguousarray(part).tobytes() for part in arrays["train"][:2]]
    digest = digest_bytes(b"".join(told))
    return {
        role: DetectorScores(name, role, logits, embeddings, digest, settings.learned_from, clipped)
        for role, (logits, embeddings, clipped) in arrays.items()
    }


def convert_scores(scores: Floats, kind: str) -> tuple[Floats, int]:
    """Log-odds `(n,)`, and how many probabilities were nearer to 0 or 1 than `BOUND`."""
    if kind == "logit":
        return scores, 0
    kept = np.clip(scores, BOUND, 1 - BOUND)
    clipped = int((kept != scores)[~np.isnan(scores)].sum())
    return np.asarray(logit(kept)), clipped


def _take(values: npt.NDArray[np.floating], places: npt.NDArray[np.int64]) -> Floats:
    """`values[places]`, NaN where a place is `NOBODY`."""
    taken = np.full((len(places), *values.shape[1:]), np.nan, values.dtype)
    found = places != NOBODY
    taken[found] = values[places[found]]
    return taken


def find_gaps(
    scores: Mapping[Role, DetectorScores], manifests: Mapping[Role, Manifest], folds: Sequence[int]
) -> list[str]:
    """Folds and roles with too few scores of a class to learn from, or to measure on."""
    train, val = manifests["train"], manifests["val"]
    parts = {f"fold {k} of train": (train, train.fold_rows(k), LEAST) for k in folds}
    if len(val):
        parts["val"] = (val, np.flatnonzero(find_headline_rows(val)), 1)
    found = []
    for title, (manifest, rows, least) in parts.items():
        known = rows[~np.isnan(scores[manifest.role].logits[rows])]
        counts = count_classes(manifest.labels[known])
        for count, kind in zip(counts, ("reals", "fakes"), strict=True):
            if count < least:
                found.append(f"{title}: scores of {count} {kind}, fewer than {least}")
    return found


def describe_scores(
    settings: OutsideScores, scores: Mapping[Role, DetectorScores], matches: Matches
) -> dict[str, Any]:
    """What is known of a detector's table: declared, counted."""
    return {
        "scores": settings.scores,
        "kind": settings.kind,
        "learned_from": settings.learned_from,
        "width": scores["train"].embeddings.shape[1],
        "rows": {role: len(own.logits) for role, own in scores.items()},
        "scored": {role: int(np.sum(~np.isnan(own.logits))) for role, own in scores.items()},
        "clipped": sum(own.clipped for own in scores.values()),
        "repeated": matches.repeated,
        "strange": len(matches.strange),
        "loose": matches.loose,
    }


def measure_on_train(scores: DetectorScores, train: Manifest) -> AucEstimate:
    """AUC on all rows of train that it scored."""
    known = ~np.isnan(scores.logits)
    return measure_auc(train.labels[known], scores.logits[known], train.groups[known])


def _log_detector(name: str, table: ScoreTable, facts: dict[str, Any], auc: AucEstimate) -> None:
    rows = ", ".join(f"{facts['scored'][r]:,} of {facts['rows'][r]:,} {r}" for r in ROLES)
    _log.info("outside %s: scores of %s; AUC on train %s", name, rows, auc.describe())
    counts = {
        "names found in another spelling, case or folder": facts["loose"],
        "names that no row has": facts["strange"],
        "lines that stand twice": facts["repeated"],
        f"probabilities kept within {BOUND:g} of 0 and 1": facts["clipped"],
    }
    for note in (*table.notes, *(f"{text}: {n:,}" for text, n in counts.items() if n)):
        _log.info("outside %s: %s", name, note)
    if auc.high is not None and auc.high < 0.5:
        _log.warning("outside %s: higher scores go to reals. Are they scores of real?", name)
    scores = table.scores[~np.isnan(table.scores)]
    if facts["kind"] == "logit" and ((scores >= 0) & (scores <= 1)).all():
        _log.warning("outside %s: all logits lie in 0 … 1. Are they probabilities?", name)


def run(params: MembersParams, out: Path = OUT) -> None:
    """Reads all tables, then writes what each detector says of each role.

    Raises `ManifestError` with the problems of all tables.
    """
    manifests = {role: read_manifest(MANIFEST, role) for role in ROLES}
    train = manifests["train"]
    found: dict[str, dict[Role, DetectorScores]] = {}
    problems, advice, count = [], [], 0
    facts = {}
    for name, settings in params.outside.items():
        try:
            table, matches = read_detector(name, settings, manifests)
        except ManifestError as error:
            problems += [f"{name}, {settings.scores}: {problem}" for problem in error.problems]
            advice += error.advice.splitlines()
            count += error.count
            continue
        scores = build_scores(name, settings, table, matches, manifests)
        gaps = find_gaps(scores, manifests, params.folds.active)
        problems += [f"{name}, {settings.scores}: {gap}" for gap in gaps]
        count += len(gaps)
        found[name] = scores
        facts[name] = describe_scores(settings, scores, matches)
        _log_detector(name, table, facts[name], measure_on_train(scores["train"], train))
    if problems:
        raise ManifestError("outside", problems, "\n".join(dict.fromkeys(advice)), count)
    for name, scores in found.items():
        for role, own in scores.items():
            write_outside(own, manifests[role], out / name)
    for folder in out.iterdir() if out.is_dir() else ():
        if folder.is_dir() and folder.name not in found:
            shutil.rmtree(folder)
    write_summary(facts, out)
