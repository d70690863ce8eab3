"""The runs of a comparison: which there are, which are done, and one after the other.

Each finished run is a JSON of its own with a key of all that it depends on: settings, files of
pretrained weights, rows, train manifest, pixels, seed; beside it lie its log-odds of the judged
rows, float32. The code is no part of it: after an update, name another folder. They lie with the
results, not in `resume_dir`: tables are made of them, so they stay when all are done. A run that
diverged leaves a JSON that says so.
"""

import logging
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from features.core.files import (
    digest_bytes,
    digest_file,
    digest_json,
    read_array,
    read_sealed,
    write_array,
    write_sealed,
)
from features.core.manifest import LearnRows, Manifest, count_classes
from features.errors import ConfigError, IntegrityError, MissingArtifactError, NotFiniteError
from features.settings.compare import CompareParams
from features.settings.training import MemberSettings
from stage1_cnn.compare.judged_rows import JudgedRows
from stage1_cnn.compare.statistics import RunScores
from stage1_cnn.networks.pretrained import digest_own_file
from stage1_cnn.sampling.loader import limit_rows, order_rows
from stage1_cnn.train.fold_metrics import UnseenScores

Scores = Mapping[str, UnseenScores]
"""By weights: `raw`, `ema`."""
FORM = {"key": str, "seconds": float, "scores": dict, "log_odds": str}
ARRAY = ".npy"
DIVERGED = ".diverged.json"
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class Run:
    """One training that the comparison asks for."""

    name: str
    """`<rows or all>-<variant>-<seed>`, also that of its file."""
    variant: str
    seed: int
    rows: LearnRows
    settings: MemberSettings
    key: str

    @property
    def work(self) -> int:
        """Images that it draws, about: what its time goes with."""
        schedule = self.settings.schedule
        images = schedule.images or len(self.rows.row_ids) * (schedule.epochs or 1)
        return images * schedule.soup


@dataclass(frozen=True)
class Finished:
    """What the file of a run holds."""

    scores: RunScores
    seconds: float


class Clock:
    """How long runs take, and whether the next one fits into the time that is given."""

    def __init__(self, minutes: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = None if minutes is None else 60 * minutes
        self._now = now
        self._start = now()
        self._seen: list[tuple[Run, float]] = []

    def add(self, run: Run, seconds: float) -> None:
        """A finished run."""
        self._seen.append((run, seconds))

    def estimate(self, run: Run) -> float | None:
        """Seconds: as runs of the same rows and variant, else by the images of the largest run."""
        work = (run.work, run.variant)
        alike = [seconds for seen, seconds in self._seen if (seen.work, seen.variant) == work]
        if alike:
            return float(np.mean(alike))
        if not self._seen:
            return None
        largest, seconds = max(self._seen, key=lambda seen: seen[0].work)
        return seconds * run.work / largest.work

    def allows(self, run: Run) -> bool:
        """Whether `run` is expected to end in time; the first one is tried if any time is left."""
        if self._limit is None:
            return True
        left = self._limit - (self._now() - self._start)
        return left > (self.estimate(run) or 0.0)

    def describe(self, runs: Sequence[Run]) -> str:
        """`about 12 min`, for all of `runs`."""
        seconds = sum(self.estimate(run) or 0.0 for run in runs)
        return f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"


def plan_runs(params: CompareParams, train: Manifest, judged: JudgedRows) -> list[Run]:
    """Rows x seeds x variants in the order in which they are made.

    By seed, then from few rows to many, then by variant: whenever it stops, every finished seed is
    a whole comparison. Raises `ConfigError` with all problems of the rows.
    """
    compare = params.compare
    subsets = _take_subsets(params, train, judged)
    variants = {name: params.resolve_variant(name) for name in compare.variants}
    pretrained = {name: digest_own_file(settings) for name, settings in variants.items()}
    images = params.images.model_dump(mode="json", include={"size", "equalize"})

    def plan(size: str, rows: LearnRows, name: str, seed: int) -> Run:
        settings = variants[name]
        key = {
            # Without what has no part in a comparison.
            "settings": settings.model_dump(mode="json", exclude={"schedule": {"curve_rows"}}),
            "pretrained": pretrained[name],
            "images": images,
            "train": rows.manifest_digest,
            "fold": rows.fold,
            "rows": digest_bytes(rows.row_ids.tobytes()),
            "judged": digest_bytes(judged.row_ids.tobytes()),
            "seed": seed,
        }
        return Run(f"{size}-{name}-{seed}", name, seed, rows, settings, digest_json(key))

    return [
        plan(size, rows, name, seed)
        for seed in range(compare.seeds)
        for size, rows in sorted(subsets.items(), key=lambda item: len(item[1].row_ids))
        for name in variants
    ]


def _take_subsets(
    params: CompareParams, train: Manifest, judged: JudgedRows
) -> dict[str, LearnRows]:
    """The rows of each size by its name (`1000`, `all`); the same for all variants and seeds."""
    compare = params.compare
    problems = []
    sampling = params.resolve_backbone(params.compared_backbone).sampling
    known = judged.leave_out(train.rows_to_learn(compare.fold))
    everything = limit_rows(known, sampling, params.seed)
    available = len(everything.row_ids)
    left_out = f"fold {compare.fold}" + (" and compare.hold_out" if compare.hold_out else "")
    order = order_rows(everything, compare.take, params.seed)
    subsets = {}
    for size in compare.rows:
        if size is not None and size > available:
            problems.append(
                f"compare.rows {size}: without {left_out}, train has {available} rows; "
                "null means all of them"
            )
            continue
        chosen = np.sort(order[:size])
        reals, fakes = count_classes(train.labels[chosen])
        if not reals or not fakes:
            problems.append(
                f"compare.rows {size or 'null'}: {reals} real and {fakes} fake rows "
                f"(take: {compare.take}); both classes are needed"
            )
        subsets["all" if len(chosen) == available else str(size)] = replace(
            everything, row_ids=chosen
        )
    if problems:
        raise ConfigError("params.yaml", problems)
    return subsets


def read_finished(plan: Sequence[Run], folder: Path) -> dict[str, Finished]:
    """The finished runs of `plan` by name; those of other settings, rows or seeds do not count."""
    found = {}
    for run in plan:
        path = _find_file(folder, run)
        try:
            facts = read_sealed(path, "compare", FORM)
            if facts["key"] != run.key:
                continue
            odds = read_array(path.with_suffix(ARRAY), facts["log_odds"], "compare", path.name)
        except MissingArtifactError:
            continue
        except IntegrityError:
            _log.info("compare: a file of %s is damaged: it is made again", run.name)
            continue
        figures = facts["scores"]
        by_weights = dict(zip(figures, odds.astype(np.float64), strict=True))
        scores = RunScores(len(run.rows.row_ids), run.variant, run.seed, figures, by_weights)
        found[run.name] = Finished(scores, facts["seconds"])
    return found


def read_diverged(
    plan: Sequence[Run], folder: Path, finished: Container[str] = ()
) -> dict[str, str]:
    """Why runs of `plan` diverged, by name; but for those that are `finished` by now."""
    found = {}
    for run in plan:
        path = _find_file(folder, run).with_suffix(DIVERGED)
        with suppress(MissingArtifactError, IntegrityError):
            facts = read_sealed(path, "compare", {"key": str, "reason": str})
            if facts["key"] == run.key and run.name not in finished:
                found[run.name] = facts["reason"]
    return found


def make_runs(
    plan: Sequence[Run], folder: Path, execute: Callable[[Run], Scores], clock: Clock
) -> list[Run]:
    """Makes the runs that are not finished, each written as soon as it ends.

    One that diverges stops no other, and is tried again by the next call, after all others. Returns
    those that are left because they would not fit into the time.
    """
    finished = read_finished(plan, folder)
    for run in plan:
        if run.name in finished:
            clock.add(run, finished[run.name].seconds)
    diverged = read_diverged(plan, folder, finished)
    waiting = [run for run in plan if run.name not in finished]
    waiting.sort(key=lambda run: run.name in diverged)
    _log.info("compare: %d runs, %d of them to make", len(plan), len(waiting))
    for place, run in enumerate(waiting):
        if not clock.allows(run):
            return waiting[place:]
        start = time.perf_counter()
        path = _find_file(folder, run)
        try:
            scores = execute(run)
        except NotFiniteError as error:
            _log.warning("compare: %s diverged and is left out: %s", run.name, error)
            write_sealed(path.with_suffix(DIVERGED), {"key": run.key, "reason": str(error)})
            continue
        seconds = time.perf_counter() - start
        _write_run(path, run, scores, seconds)
        path.with_suffix(DIVERGED).unlink(missing_ok=True)
        clock.add(run, seconds)
        rest = waiting[place + 1 :]
        _log.info(
            "compare: %s made in %.1f s; %d left%s",
            run.name, seconds, len(rest), f", {clock.describe(rest)}" if rest else "",
        )  # fmt: skip
    return []


def _find_file(folder: Path, run: Run) -> Path:
    return folder / "runs" / f"{run.name}.json"


def _write_run(path: Path, run: Run, scores: Scores, seconds: float) -> None:
    """Log-odds first: a run whose JSON is there is whole."""
    odds = np.stack([own.log_odds for own in scores.values()]).astype(np.float32)
    write_array(path.with_suffix(ARRAY), odds)
    facts = _describe_run(run, scores, seconds, digest_file(path.with_suffix(ARRAY)))
    write_sealed(path, facts)


def _describe_run(run: Run, scores: Scores, seconds: float, log_odds: str) -> dict[str, Any]:
    """What is written of a run; the settings are for people. `log_odds`: the digest of its file."""
    return {
        "key": run.key,
        "rows": len(run.rows.row_ids),
        "variant": run.variant,
        "seed": run.seed,
        "fold": run.rows.fold,
        "seconds": round(seconds, 3),
        "scores": {name: own.figures for name, own in scores.items()},
        "log_odds": log_odds,
        "settings": run.settings.model_dump(mode="json"),
    }
