"""What `python -m stage2_ensemble.label` does.

run(load_params(MembersParams))                  # writes artifacts/labels.csv
"""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from features.artifacts.outside import locate_outside
from features.core.files import write_atomic, write_text
from features.core.manifest import READABLE, Manifest, read_manifest
from features.settings.members import MembersParams
from features.videos.addresses import name_file
from stage2_ensemble.columns.columns import Floats, HeldOutColumns, read_held_out
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.decisions.conformal import FAKE, REAL, REVIEW
from stage2_ensemble.decisions.rules import answer_rows
from stage2_ensemble.decisions.units import number_units
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.fitted.ensemble import SecondStage, check_members

MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
STACKERS = Path("artifacts/stackers")
OUT = Path("artifacts")
DIGITS = "%.17g"
BLOCK = 1 << 20
"""Rows that are scored, answered and written together."""
NO_SCORE = "no detector has scored it"
UNIT_COLUMNS = ["unit", "rows", "score", "label", "log_odds"]
_log = logging.getLogger("forgerystack")


def score_test_rows(ensemble: SecondStage, columns: list[HeldOutColumns], test: Manifest) -> Floats:
    """`(n,)` log-odds of what ships as they come.

    NaN for an image that cannot be read, or that no member has scored.
    """
    uncalibrated = np.full(len(test), np.nan)
    row_ids = columns[0].row_ids
    for block in _iterate_blocks(len(row_ids)):
        parts = [own.take(block) for own in columns]
        uncalibrated[row_ids[block]] = ensemble.score(ensemble.shipped, parts)
    return uncalibrated


def label_rows(
    ensemble: SecondStage, uncalibrated: Floats, test: Manifest, block: slice = slice(None)
) -> pd.DataFrame:
    """One row per test row of a block: `img_name, score, label, log_odds, status`.

    `score` is the probability of being fake at the class shares that `label.prior` says, `label` is
    `real`, `fake`, or, with `decision.review`, `review`. An image that cannot be read, or that no
    member has scored, gets the share of fakes as its score and its problem as `status`; with
    `decision.review` it is left to review.
    """
    answers = answer_rows(ensemble.rules, ensemble.shipped, uncalibrated[block])
    answers.insert(0, "img_name", test.read("img_name", block).to_numpy())
    status = test.read("status", block).to_numpy()
    is_silent = np.isnan(uncalibrated[block]) & (status == READABLE)
    return answers.assign(status=np.where(is_silent, NO_SCORE, status))


def _iterate_blocks(n: int) -> Iterator[slice]:
    """At least one, so that what is checked with each block is checked without rows, too."""
    for start in range(0, n or 1, BLOCK):
        yield slice(start, start + BLOCK)


def label_units(ensemble: SecondStage, uncalibrated: Floats, test: Manifest) -> pd.DataFrame:
    """One row per unit, in the order of first rows: `unit, rows, score, label, log_odds`.

    `rows`: its images that can be read, whose pooled log-odds are read as those of units; a unit
    without any is treated as such an image is. An image without a unit is one by its own name.
    There is no row where train has no units, or test no images.
    """
    if ensemble.unit_rules is None:
        return pd.DataFrame(columns=UNIT_COLUMNS)
    units = number_units(test.units)
    pooled = ensemble.pooling.pool(units, uncalibrated)
    answers = answer_rows(ensemble.unit_rules, ensemble.shipped, pooled)
    named, img_names = (test.read(name).iloc[units.first] for name in ("unit", "img_name"))
    names = named.where(named != "", img_names).to_numpy()
    rows = np.bincount(units.numbers, np.isfinite(uncalibrated)).astype(np.int64)
    return answers.assign(unit=names, rows=rows)[UNIT_COLUMNS]


def answer_list(ensemble: SecondStage, uncalibrated: Floats, test: Manifest) -> pd.DataFrame:
    """One row per entry of the test list, in its order: `img_name, y_pred`.

    A picture's is the score of its row; frames of a video, and faces, are pooled and read as units
    are.
    """
    rows = test.read("img_name")
    names = rows.map(name_file)
    entries = number_units(pd.factorize(names)[0])
    scores = answer_rows(ensemble.rules, ensemble.shipped, uncalibrated)["score"].to_numpy()
    scores = scores[entries.first]
    has_parts = np.bincount(entries.numbers, rows != names) > 0
    if has_parts.any():
        rules = ensemble.choose_rules(is_unit=True)
        pooled = ensemble.pooling.pool(entries, uncalibrated)[has_parts]
        scores[has_parts] = answer_rows(rules, ensemble.shipped, pooled)["score"]
    first = names.iloc[entries.first].to_numpy()
    return pd.DataFrame({"img_name": first, "y_pred": scores})


def write_labels(
    ensemble: SecondStage, uncalibrated: Floats, test: Manifest, path: Path
) -> tuple[Floats, Counter[str]]:
    """Writes what `label_rows` says; returns scores `(n,)`, and counts of labels and statuses."""
    counts: Counter[str] = Counter()
    scores = np.empty(len(test))
    with write_atomic(path) as file:
        for block in _iterate_blocks(len(test)):
            labels = label_rows(ensemble, uncalibrated, test, block)
            scores[block] = labels["score"]
            for column in ("label", "status"):
                found = labels[column].value_counts()
                counts.update({str(name): int(n) for name, n in found.items()})
            _append_rows(file, labels, block)
    return scores, counts


def write_answers(
    ensemble: SecondStage, uncalibrated: Floats, scores: Floats, test: Manifest, path: Path
) -> None:
    """Writes what `answer_list` says, which for files are the `scores` of their rows."""
    blocks = list(_iterate_blocks(len(test)))
    if any(test.read("img_name", block).str.contains("#", regex=False).any() for block in blocks):
        answers = answer_list(ensemble, uncalibrated, test)
        write_text(path, answers.to_csv(index=False, float_format=DIGITS))
        return
    with write_atomic(path) as file:
        for block in blocks:
            names = test.read("img_name", block).to_numpy()
            _append_rows(file, pd.DataFrame({"img_name": names, "y_pred": scores[block]}), block)


def _append_rows(file: IO[bytes], rows: pd.DataFrame, block: slice) -> None:
    text = rows.to_csv(index=False, float_format=DIGITS, header=block.start == 0)
    file.write(text.encode())


def run(params: MembersParams, out: Path = OUT) -> None:
    """Reads the bundle and the test dumps, writes labels, also of units, and the submission."""
    ensemble = read_ensemble(STACKERS)
    check_members(ensemble, params.names, params.folds.active)
    test = read_manifest(MANIFEST, "test")
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    extras = read_extras(FORENSICS, test, ensemble.file_codes)
    columns = read_held_out(DUMPS, test, *members, extras, locate_outside(params.outside))
    uncalibrated = score_test_rows(ensemble, columns, test)
    scores, counts = write_labels(ensemble, uncalibrated, test, out / "labels.csv")
    write_answers(ensemble, uncalibrated, scores, test, out / "prediction.txt")
    units = label_units(ensemble, uncalibrated, test)
    write_text(out / "unit_labels.csv", units.to_csv(index=False, float_format=DIGITS))
    _log_labels(counts, len(test), out)
    _log_units(units, test, out / "unit_labels.csv")


def _log_units(units: pd.DataFrame, test: Manifest, path: Path) -> None:
    if len(units):
        note = "" if test.has_units else ": the list names none, so each image is one"
        _log.info("label: %d units%s -> %s", len(units), note, path)
    elif test.has_units:
        _log.info("label: no rules of units (see stack): %s holds its header only", path)


def _log_labels(counts: Counter[str], rows: int, out: Path) -> None:
    if not rows:
        _log.info(
            "label: no test list (data.test), so %s holds its header only", out / "labels.csv"
        )
        return
    found = ", ".join(f"{counts[name]} {name}" for name in (FAKE, REAL, REVIEW) if counts[name])
    silent = counts[NO_SCORE]
    unread = rows - counts[READABLE] - silent
    lost = f"{unread} unreadable" + (f", {silent} without any score" if silent else "")
    _log.info("label: %d rows, %s; %s -> %s", rows, found, lost, out / "labels.csv")
