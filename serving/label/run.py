"""What `python -m serving.label` does."""

import itertools
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.errors import PictureError, Stopped
from features.runtime.interruption import Interruption
from features.runtime.locks import hold
from features.runtime.progress import show_progress
from features.runtime.terminal import get_form, is_heard, write_document
from serving.ensemble.ensemble import Ensemble
from serving.ensemble.rows import LabelledPicture
from serving.format.folders import check_file_name, open_locks
from serving.label.rows_file import RowsFile
from serving.label.tables import (
    ASKED,
    FACES,
    describe_labelled,
    read_template,
    write_json_rows,
    write_rows,
    write_submission,
)
from serving.reading.pictures import GivenPicture
from serving.reading.sources import Source, list_pictures, open_sources, refuse_input
from serving.reading.texts import read_given_paths, show_name, split_paths

STDIN = "-"
NO_FACE = "no face was found, so the whole was looked at"
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class LabelTask:
    """The options of the command."""

    paths: tuple[str, ...]
    bundle: Path
    out: Path | None = None
    list_file: Path | None = None
    members: bool = False
    submission: Path | None = None
    max_loss: float | None = None
    prior: float | None = None


def run(task: LabelTask) -> None:
    """Raises `PictureError`, `BundleError`, `ConfigError`, `LockedError`, and `Stopped`."""
    if task.out:
        check_file_name(task.out)
        refuse_input(task.out, [task.list_file] if task.list_file else [])
    given = [path for path in task.paths if path != STDIN]
    sources = open_sources(given, _read_lists(task), task.out)
    template = read_template(task.submission) if task.submission else None
    # An archive is read once for its names alone: a template is checked, and how much is to come is
    # known, before the first picture is looked at. That skips contents, or unpacks them where they
    # are packed, which takes a twentieth of the time of scoring them.
    names = [name for source in sources for name in source.list_names()]
    _check_names(task, names, template)
    ensemble = Ensemble.load(task.bundle, max_loss=task.max_loss, prior=task.prior)
    pictures = _choose(sources, template)
    total = len(names if template is None else template)
    if task.out is None:
        for row in ensemble.stream(pictures, task.members):
            _say_row(row)
            if not is_heard():
                break
        return
    members = [facts.name for facts in ensemble.facts.members] if task.members else []
    kept = task.out.with_name(f".{task.out.name}.rows")
    options = {"members": task.members, "max_loss": task.max_loss, "prior": task.prior}
    key = {"bundle": ensemble.bundle.digest, **options}
    with hold(task.out, open_locks()), RowsFile(kept, key) as rows:
        _label(ensemble, rows, pictures, total, task.members)
        if template is not None:
            write_submission(task.out, rows.read(), template)
        elif get_form() == "json":
            write_json_rows(task.out, rows.read())
        else:
            wanted = {ASKED: task.max_loss is not None, FACES: ensemble.facts.pixels.faces}
            more = [name for name, is_wanted in wanted.items() if is_wanted]
            write_rows(task.out, rows.read(), members, more)
        _tell(rows.read(), task.out)
    kept.unlink()


def _read_lists(task: LabelTask) -> list[str]:
    """Paths of `--list` and of standard input, one a line."""
    paths = read_given_paths(task.list_file) if task.list_file else []
    return paths + split_paths(sys.stdin.buffer.read()) if STDIN in task.paths else paths


def _check_names(task: LabelTask, names: Sequence[str], template: Sequence[str] | None) -> None:
    """Raises `PictureError` with all that a submission lacks, and where there is nothing to do."""
    if task.members and task.max_loss is not None:
        problem = "with --members every network sees every picture: leave one of both out"
        raise PictureError("--max-loss", [problem])
    if not names:
        where = f"there are none in {', '.join(task.paths)}" if task.paths else "there are none"
        advice = "Name files or folders, a list with --list, or - for names on standard input."
        raise PictureError("pictures", [where], advice)
    if template is None:
        return
    if task.out is None:
        raise PictureError("--submission", ["say where it goes: -o submission.csv"])
    counts = Counter(names)
    problems = [f"{name}: no such picture" for name in template if name not in counts]
    problems += [f"{name}: {counts[name]} pictures" for name in template if counts[name] > 1]
    if problems:
        raise PictureError(str(task.submission), [show_name(problem) for problem in problems])


def _choose(sources: Sequence[Source], template: Sequence[str] | None) -> Iterator[GivenPicture]:
    """All pictures, or those that the template names."""
    if template is None:
        return list_pictures(sources)
    wanted = set(template)
    return (picture for picture in list_pictures(sources) if picture.name in wanted)


def _label(
    ensemble: Ensemble, rows: RowsFile, pictures: Iterator[GivenPicture], total: int, members: bool
) -> None:
    """Labels what `rows` lack. Raises `Stopped`, with all that was labelled kept."""
    missing = rows.skip_known(pictures)
    first = list(itertools.islice(missing, 1))  # those before it are known
    done = rows.count
    if done:
        _log.info("label: goes on after %s of %s pictures", f"{done:,}", f"{total:,}")
    with Interruption() as interruption, show_progress("label", total, "pictures", done) as meter:
        for row in ensemble.stream(itertools.chain(first, missing), members):
            rows.add(row)
            meter.advance(rows.count - done)
            done = rows.count
            if done < total and (reason := interruption.find_reason()):
                rows.sync()
                raise Stopped(f"after {done:,} of {total:,} pictures ({reason})")


def _say_row(row: LabelledPicture) -> None:
    if get_form() == "json":
        write_document(describe_labelled(row))
    else:
        known = f"{row.label:<6} {row.score:.4f}" if row.is_readable else "-      -     "
        note = row.status if not row.is_readable else NO_FACE if row.faces == 0 else ""
        parts = [row.name, *([note] if note else [])]
        if row.members and row.is_readable:
            odds = (f"{name} {value:+.2f}" for name, value in row.members.items())
            parts.append(", ".join(odds))
        _log.info("%s  %s", known, show_name(": ".join(parts)))


def _tell(rows: Iterator[LabelledPicture], out: Path) -> None:
    counts = Counter[str]()
    faceless = 0
    for row in rows:
        counts[row.label if row.is_readable else "unreadable"] += 1
        faceless += row.faces == 0
    found = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    if faceless:
        found += f"; in {faceless:,} {NO_FACE}"
    _log.info("label: %s -> %s", found, out)
