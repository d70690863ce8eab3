"""Work of a cache on all cores, recorded as it comes."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from joblib import Parallel
from joblib.externals.loky.process_executor import TerminatedWorkerError

from features.errors import WorkerKilledError
from features.runtime.memory import count_workers

COMMIT_SECONDS = 1.0
"""A killed run loses at most so much work."""


def run_tasks(
    tasks: Iterable[Any],
    processes: bool,
    record: Callable[[Any], None],
    commit: Callable[[], None],
) -> None:
    """Runs joblib's `tasks`; what each gives is recorded, in order, and committed in time.

    Raises `WorkerKilledError`.
    """
    # The queue is long enough to keep all cores busy while `commit` waits for the disk.
    # Another joblib backend, such as Dask's, may be set around it.
    work = Parallel(
        n_jobs=count_workers(),
        prefer="processes" if processes else "threads",
        return_as="generator",
        pre_dispatch="16*n_jobs",
    )(tasks)
    committed = time.monotonic()
    try:
        for done in work:
            record(done)
            if time.monotonic() - committed > COMMIT_SECONDS:
                commit()
                committed = time.monotonic()
    except TerminatedWorkerError as error:
        raise WorkerKilledError("images were read") from error
    finally:
        commit()
