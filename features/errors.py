"""Errors that a user can act on: constructors take facts and write the message.

Only the command line catches `PipelineError` (one message on stderr, exit 2).
Anything else is a bug and keeps its traceback.
"""

from collections.abc import Iterable, Sequence

SHOWN = 10


def list_problems(problems: Sequence[str], count: int) -> str:
    """The first ten of `count` problems, one a line, and how many more there are."""
    lines = [f"  {problem}" for problem in problems[:SHOWN]]
    if count > len(lines):
        lines.append(f"  … and {count - len(lines)} more")
    return "\n".join(lines)


def list_ids(row_ids: Iterable[int]) -> str:
    """`3, 5, 8 … (120 rows)` for a message."""
    ids = [int(i) for i in row_ids]
    shown = ", ".join(str(i) for i in ids[:SHOWN])
    return f"{shown}{' …' if len(ids) > SHOWN else ''} ({len(ids)} rows)"


class ImageProblem(Exception):
    """Why one image or video cannot be used; its text goes to the quarantine list."""


class PipelineError(Exception):
    """Something that the user can mend: bad input, a missing stage, a stale file."""

    def __reduce__(self) -> tuple[object, ...]:
        """Carries the message itself between processes: constructors take other arguments."""
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[PipelineError], args: tuple[str, ...], facts: dict[str, object]
) -> PipelineError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class _ProblemsError(PipelineError):
    """All problems of one source, reported together."""

    def __init__(
        self, source: str, problems: Sequence[str], advice: str = "", count: int | None = None
    ) -> None:
        """`count` is that of all problems, where `problems` are but the first ones."""
        count = len(problems) if count is None else count
        noun = "problem" if count == 1 else "problems"
        text = f"{source}: {count} {noun}\n{list_problems(problems, count)}"
        super().__init__(f"{text}\n{advice}" if advice else text)
        self.problems = list(problems)
        self.advice = advice
        self.count = count


class ConfigError(_ProblemsError):
    """A parameter is unknown, of the wrong type or out of range."""


class ManifestError(_ProblemsError):
    """A label file or an image folder cannot be used as it is."""


class CarryError(_ProblemsError):
    """What one session packs for the next cannot be packed, or unpacked, as things are."""


class BundleError(_ProblemsError):
    """An ensemble cannot be bundled, or a bundle cannot be used, as things are."""


class PictureError(_ProblemsError):
    """Pictures cannot be read, or are not those that were asked for."""


class TrainingError(_ProblemsError):
    """Members, or runs of a comparison, could not be trained, or not kept; others were."""

    def __init__(self, failures: Sequence[str], count: int, noun: str = "members") -> None:
        """`count` is that of all that were to be trained."""
        super().__init__(
            f"{len(failures)} of {count} {noun}", failures, "The same command tries them again."
        )


class DvcError(PipelineError):
    """DVC could not do what it was asked for."""

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"dvc {command}: {reason}")


class MissingArtifactError(PipelineError):
    """A file that another stage makes is not there."""

    def __init__(self, path: object, stage: str) -> None:
        super().__init__(f"{path} is missing. Stage `{stage}` makes it: dvc repro {stage}")


class StaleArtifactError(PipelineError):
    """A file was made from other inputs than those that are here now."""

    def __init__(self, path: object, found: str, wanted: str, stage: str) -> None:
        super().__init__(
            f"{path} is stale: made from {found}, but {wanted} is here now. "
            f"Make it again: dvc repro {stage}"
        )


class AlignmentError(PipelineError):
    """Rows or columns of two tables do not match."""

    def __init__(self, what: str, found: object, wanted: object) -> None:
        super().__init__(f"{what} do not match: found {found}, wanted {wanted}")


class LeakageError(PipelineError):
    """A model would see, or be judged on, a row that it learned from."""

    def __init__(self, what: str, row_ids: Iterable[int]) -> None:
        super().__init__(f"Leakage: {what}; rows {list_ids(row_ids)}")


class IntegrityError(PipelineError):
    """A file is damaged, or was changed after it was written."""

    def __init__(self, path: object, reason: str, advice: str) -> None:
        super().__init__(f"{path} is damaged: {reason}. {advice}")


class NotFiniteError(PipelineError):
    """A loss or a score is no longer a number."""

    def __init__(self, what: str, row_ids: Iterable[int] | None) -> None:
        """`None`: of all rows, so that none of them is the reason."""
        found = "a finite number for no row, so the weights are gone, whatever pictures came last"
        if row_ids is not None:
            found = f"not a finite number; rows {list_ids(row_ids)}"
        super().__init__(f"{what}: {found}. Lower optimizer.lr, or raise schedule.warmup_epochs")


class WorkerKilledError(PipelineError):
    """A worker process ended without a word, as the system's memory guard ends them."""

    def __init__(self, when: str) -> None:
        super().__init__(
            f"A worker process was killed while {when}, probably for want of memory. What was "
            "finished is kept: run it again, with fewer processes: LOKY_MAX_CPU_COUNT=2"
        )


class ClusterError(PipelineError):
    """Work on a cluster of Dask cannot begin, or cannot go on."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}. {advice}")


class LostProcessError(PipelineError):
    """Of several processes of one training or dump, some no longer answer the others."""

    def __init__(self, lost: Sequence[str], seconds: float) -> None:
        if lost:
            what = f"{' and '.join(lost)} ended (and said why, if it could) or hangs"
        else:
            what = "A process was slow, all are there"
        super().__init__(
            f"{what}: no answer for {seconds:g} s (FORGERYSTACK_PROCESS_TIMEOUT), so all end. What "
            "was saved is kept: the same command goes on"
        )


class LockedError(PipelineError):
    """Another process works on the same files."""

    def __init__(self, path: object, pid: str) -> None:
        super().__init__(
            f"{path} is in use by process {pid}. Wait for it to end, or stop it: kill {pid}"
        )


class SupersededError(PipelineError):
    """A newer run has taken over; what it writes stays."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"A newer run of this stage has begun, and only its results count: {path} is left to it"
        )


class DeviceMemoryError(PipelineError):
    """The device, or the machine, has too little memory for one batch."""

    def __init__(self, device: object, advice: str) -> None:
        super().__init__(f"{device} has too little memory. {advice}")


class Stopped(Exception):
    """Stopped by the user, a signal or a time limit; the same command goes on from there."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(f"stopped {where}. The same command goes on from there.")
