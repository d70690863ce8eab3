"""A table of scores as it came, told by its content: text in any of its forms, or Parquet."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import ManifestError
from features.lists.advice import NAMES, choose_column
from features.lists.csv_blocks import BLOCK, Problems, check_file
from features.lists.tables import EMPTY, open_table, read_number
from features.settings.members import OutsideScores
from features.settings.sections import suggest_name

SCORES = (
    *("score", "y_pred", "prob", "probability", "prediction", "pred", "p_fake", "prob_fake"),
    *("fake_prob", "fake_probability", "logit", "logits", "output", "fake", "y_score"),
)
"""What columns of scores are called elsewhere, in the order of preference."""
LARGEST = float(np.finfo(np.float16).max)
"""Value of an embedding."""
Floats = npt.NDArray[np.float64]
Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ScoreTable:
    """`n` rows as the table has them."""

    names: list[str]
    lines: npt.NDArray[np.int64]
    scores: Floats
    """`(n,)`; NaN where there is none."""
    embeddings: Embeddings
    """`(n, d)`; NaN in all of a row that lacks any."""
    notes: list[str]
    """How it was read, where that is not as it stands."""


@dataclass(frozen=True)
class _Block:
    names: list[str]
    lines: list[int]
    scores: Floats
    embeddings: Embeddings


def read_score_table(settings: OutsideScores, detector: str, problems: Problems) -> ScoreTable:
    """All rows; each cell that is no score, or no value of an embedding, is a problem.

    Raises `ManifestError` for a file that is no table, or that lacks a column.
    """
    path = Path(settings.scores)
    check_file(path)
    with open(path, "rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    notes: list[str] = []
    read = _read_parquet if is_parquet else _read_text
    blocks = list(read(path, settings, detector, problems, notes))
    widths = {block.embeddings.shape[1] for block in blocks if block.names}
    if len(widths) > 1:
        text = f"embeddings have {', '.join(map(str, sorted(widths)))} values"
        raise ManifestError(str(path), [text])
    if widths:
        blocks = [block for block in blocks if block.names]
    embeddings = np.concatenate([block.embeddings for block in blocks])
    _check_embeddings(embeddings, blocks, problems)
    embeddings[np.isnan(embeddings).any(axis=1)] = np.nan
    return ScoreTable(
        [name for block in blocks for name in block.names],
        np.array([line for block in blocks for line in block.lines], np.int64),
        np.concatenate([block.scores for block in blocks]),
        embeddings,
        notes,
    )


def _check_embeddings(embeddings: Embeddings, blocks: Sequence[_Block], problems: Problems) -> None:
    large = np.flatnonzero((np.abs(embeddings) > LARGEST).any(axis=1))
    if len(large):
        lines = [line for block in blocks for line in block.lines]
        for place in large.tolist():
            problems.add(lines[place], f"a value of its embedding is beyond {LARGEST:,.0f}")


def _read_text(
    path: Path, settings: OutsideScores, detector: str, problems: Problems, notes: list[str]
) -> Iterator[_Block]:
    with open_table(path, [settings.name, settings.score]) as table:
        places = _find_columns(table.header, settings, detector, path)
        notes += table.notes
        for block in table.iterate_blocks(problems, [table.header[place] for place in places]):
            name, score, *more = (block.columns[place] for place in places)
            values = [_parse_column(column, block.lines, problems) for column in (score, *more)]
            embeddings = np.stack(values[1:], axis=1) if more else np.empty((len(name), 0))
            yield _Block(name, block.lines, values[0], embeddings.astype(np.float32))


def _read_parquet(
    path: Path, settings: OutsideScores, detector: str, problems: Problems, notes: list[str]
) -> Iterator[_Block]:
    problems.noun = "row"
    start = 1
    try:
        file = pq.ParquetFile(path)
        header = file.schema_arrow.names
        wanted = [header[i] for i in _find_columns(header, settings, detector, path)]
        for batch in file.iter_batches(BLOCK, columns=wanted):
            name, score, *more = (batch.column(column) for column in wanted)
            names = pc.fill_null(pc.cast(name, pa.large_string()), "").to_pylist()
            scores = pc.fill_null(pc.cast(score, pa.float64()), math.nan)
            lines = list(range(start, start + len(batch)))
            yield _Block(list(map(str.strip, names)), lines, np.array(scores), _stack_values(more))
            start += len(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(str(path), [f"row {start} or later: {error}"]) from error
    if start == 1:
        yield _Block([], [], np.empty(0), np.empty((0, 0), np.float32))


def _stack_values(columns: Sequence[pa.Array]) -> Embeddings:
    """`(n, d)` of d columns of numbers, or of one of lists."""
    if not columns:
        return np.empty((0, 0), np.float32)
    if len(columns) == 1 and pa.types.is_nested(columns[0].type):
        rows = columns[0].to_numpy(zero_copy_only=False)
        widths = {len(row) for row in rows if row is not None}
        if len(widths) > 1:
            raise ValueError(f"lists of {', '.join(map(str, sorted(widths)))} values")
        missing = np.full(max(widths, default=0), np.nan, np.float32)
        kept = [missing if row is None else np.asarray(row, np.float32) for row in rows]
        return np.stack(kept) if kept else np.empty((0, 0), np.float32)
    numbers = [pc.fill_null(pc.cast(column, pa.float32()), math.nan) for column in columns]
    return np.stack([np.array(column) for column in numbers], axis=1)


def _find_columns(
    header: Sequence[str], settings: OutsideScores, detector: str, path: Path
) -> list[int]:
    """Places of names, scores and embeddings. Raises `ManifestError` for one that is not there."""
    known = {"name": (settings.name, NAMES), "score": (settings.score, SCORES)}
    problems, better = [], []
    for key, (wanted, others) in known.items():
        if wanted not in header:
            problems.append(f"no column {wanted!r}{suggest_name(wanted, header)}")
            if other := choose_column(header, others):
                better.append(f"{key}: {other}")
        elif list(header).count(wanted) > 1:
            problems.append(f"column {wanted!r} stands twice")
    found: list[int] = []
    if settings.embeddings:
        found = [i for i, name in enumerate(header) if fnmatchcase(name, settings.embeddings)]
        if not found:
            problems.append(f"no column fits embeddings: {settings.embeddings!r}")
    if problems:
        lines = f"outside:\n  {detector}: {{…, {', '.join(better)}}}"
        advice = f"To read it as it is, say in params.yaml:\n{lines}" if better else ""
        raise ManifestError(str(path), problems, advice)
    return [header.index(settings.name), header.index(settings.score), *found]


def _parse_column(texts: Sequence[str], lines: Sequence[int], problems: Problems) -> Floats:
    """`(n,)`; NaN for an empty cell; what is no number is a problem."""
    try:
        return np.array(texts, np.float64) if len(texts) else np.empty(0)
    except ValueError:
        return np.array([_parse(*cell, problems) for cell in zip(texts, lines, strict=True)])


def _parse(text: str, line: int, problems: Problems) -> float:
    if text.casefold() in EMPTY:
        return math.nan
    try:
        return read_number(text)
    except ValueError:
        problems.add(line, f"{text!r} is no number")
        return math.nan
