"""Clusters of Dask for tests: workers that are threads of this process; who kills others."""

import logging
import os
import signal
import threading
import time
from typing import Any, Self

from distributed import LocalCluster
from distributed.deploy.spec import SpecCluster


def open_threads() -> Any:
    """Two workers that start at once."""
    return LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )


def list_done(cluster: Any, name: str) -> list[str]:
    """Tasks with this name in their key that workers have finished."""
    steps = cluster.scheduler.transition_log
    return [str(key) for key, _, state, *_ in steps if name in str(key) and state == "memory"]


class Killer:
    """Within, a worker of the cluster that opens here is killed that does a task of this name, so
    many seconds after it was seen doing one: so often.
    """

    def __init__(self, name: str, times: int = 1, after: float = 0.0) -> None:
        self._name, self._times, self._after = name, times, after
        self.killed: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while len(self.killed) < self._times and not self._over.is_set():
            pid = self._find_busy()
            if pid is None or pid in self.killed or self._over.wait(self._after):
                time.sleep(0.002)
            elif pid == self._find_busy():  # it may have ended meanwhile
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)

    def _find_busy(self) -> int | None:
        for cluster in list(SpecCluster._instances):
            if getattr(cluster.status, "name", None) != "running":
                continue
            pids = {worker.worker_address: worker.pid for worker in cluster.workers.values()}
            for key, task in list(cluster.scheduler.tasks.items()):
                if self._name in str(key) and task.state == "processing" and task.processing_on:
                    return pids.get(task.processing_on.address)
        return None
