"""Which workers of Dask are the machines of LightGBM, with which rows; and what is tried again."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import lightgbm
import numpy as np
from lightgbm import Booster
from lightgbm.basic import LightGBMError

from features.core.manifest import Ids
from features.errors import ClusterError
from features.runtime.cluster import MINUTES
from stage2_ensemble.columns.columns import Labels

ATTEMPTS = 2
SECONDS = 60
"""That a worker that was lost may take to come back."""
_ADVICE = (
    "Give workers more memory, or it more time (dask.minutes), start them with a nanny "
    "(docs/guide/cluster.md), and run it again"
)
_T = TypeVar("_T")
_log = logging.getLogger("forgerystack")
_quiet = logging.getLogger("lightgbm")
_quiet.setLevel(logging.ERROR)


def deal_rows(labels: Labels, count: int) -> list[Ids]:
    """Positions of the rows of `count` parts, fewer where a class has fewer rows: each has every
    `count`-th row of either class.
    """
    count = int(min(count, *np.bincount(labels, minlength=2)))
    parts = np.empty(len(labels), np.int64)
    for label in (0, 1):
        own = np.flatnonzero(labels == label)
        parts[own] = np.arange(len(own)) % count
    return [np.flatnonzero(parts == part) for part in range(count)]


def try_twice(work: Callable[[Any, list[str]], _T], count: int) -> _T:
    """What `work(client, machines)` gives, `machines` being so many workers; where it is lost or
    late, once more, by workers that are new. Raises `ClusterError`.
    """
    import dask
    from distributed import KilledWorker, default_client

    client, minutes = default_client(), dask.config.get(MINUTES)
    lightgbm.register_logger(_quiet)  # it prints what it does about ports
    lost = (CancelledError, KilledWorker, LightGBMError, OSError, TimeoutError)
    for attempt in range(ATTEMPTS):
        pool = ThreadPoolExecutor(1)
        try:
            client.wait_for_workers(count, timeout=SECONDS)  # fewer would learn other trees
            machines = sorted(client.nthreads())[:count]
            return _watch(pool.submit(work, client, machines), client, machines, minutes)
        except lost as error:
            problem = str(error) or repr(error)
        finally:
            pool.shutdown(wait=False)
        _log.warning("stack: LightGBM on Dask, attempt %d: %s", attempt + 1, problem)
        try:
            client.restart()  # whoever waits for a lost one ends, too
        except lost as error:
            raise ClusterError(f"Workers of Dask do not come back: {error}", _ADVICE) from error
    raise ClusterError(f"LightGBM on Dask failed {ATTEMPTS} times, at last: {problem}", _ADVICE)


def _watch(job: "Future[_T]", client: Any, machines: Sequence[str], minutes: float) -> _T:
    """Its result. Raises once a machine is gone: one that waits for it may do so for hours."""
    end = time.monotonic() + 60 * minutes
    while (left := end - time.monotonic()) > 0:
        if wait([job], timeout=min(left, 1.0)).done:
            return job.result()
        if gone := set(machines) - set(client.nthreads()):
            raise LightGBMError(f"a worker was lost: {', '.join(sorted(gone))}")
    raise TimeoutError(f"not done in {minutes:g} minutes")


class PlacingClient:
    """The client that LightGBM sees: each part goes to a worker of its own, in their order.

    Dask would put small parts together, and has no order: other sums, so other trees.
    """

    def __init__(self, client: Any, workers: Sequence[str]) -> None:
        self._client, self._workers = client, workers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def compute(self, parts: Sequence[Any]) -> list[Any]:
        """Their futures, which are done."""
        from distributed import wait as wait_for

        pairs = zip(parts, self._workers, strict=False)
        futures = [self._client.compute(part, workers=[worker]) for part, worker in pairs]
        wait_for(futures)
        self._client.gather([future for future in futures if future.status == "error"])
        return futures

    def who_has(self, parts: Sequence[Any]) -> dict[str, Any]:
        """The workers of each part, in their order: the first is the first machine."""
        found = self._client.who_has(parts)
        if not all(found.values()):
            raise LightGBMError("a worker was lost with its part")
        return {part.key: found[part.key] for part in parts}


def forget_places(booster: Booster) -> Booster:
    """It holds addresses and ports, which are others in each run."""
    lines = booster.model_to_string().splitlines(keepends=True)
    places = ("[machines:", "[local_listen_port:")
    return Booster(model_str="".join(line for line in lines if not line.startswith(places)))
