"""Where work runs that is shared out: on the cores of this machine, or on workers of Dask.

    with open_scans(overrides):
        run(params)                        # its calls of joblib.Parallel go to the workers

Tables are the same to the bit on either, so no stage depends on this.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from features.errors import ClusterError
from features.settings.sections import Section, StageParams, load_params

SECONDS = 60
"""That a scheduler and its workers may take to answer."""
Engine = Literal["local", "dask"]
MINUTES = "forgerystack.minutes"
"""Of Dask's configuration: `dask.minutes`."""
NO_STDOUT = "import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 1)"
"""For workers on this machine: LightGBM says there what nobody can silence."""


class Scans(Section):
    """Who reads pictures in `prepare` and measures them in `forensics`."""

    engine: Engine = "local"


class DaskCluster(Section):
    """Which workers, where an engine is dask. They see this folder under the same name."""

    scheduler: str | None = None
    """Address of a scheduler that runs, such as `tcp://10.0.0.5:8786`; null: workers are started on
    this machine."""
    workers: PositiveInt | None = None
    """How many are started here; null: one a core."""
    minutes: PositiveFloat = 60.0
    """That one LightGBM model of `stack` may take; then its workers are started anew, and it is
    tried once more."""

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.scheduler is not None and self.workers is not None:
            raise ValueError("workers has no meaning with a scheduler, which has its own")
        return self


class ClusterParams(StageParams):
    """What is read besides; it changes no table."""

    scans: Scans = Scans()
    dask: DaskCluster = DaskCluster()


def open_scans(overrides: Sequence[str] | None = None) -> AbstractContextManager[object]:
    """Within, calls of `joblib.Parallel` run where `scans.engine` of `params.yaml` says.

    Raises `ConfigError`, and as `open_cluster`.
    """
    params = load_params(ClusterParams, overrides)
    return _spread(params.dask) if params.scans.engine == "dask" else nullcontext()


def open_workers(
    engine: Engine, overrides: Sequence[str] | None, least: int
) -> AbstractContextManager[object]:
    """Within, a client of Dask is the default one, where `engine` asks for it. Raises as
    `open_scans`.
    """
    if engine == "local":
        return nullcontext()
    return open_cluster(load_params(ClusterParams, overrides).dask, least)


@contextmanager
def _spread(place: DaskCluster) -> Iterator[None]:
    with open_cluster(place) as client:
        from joblib import parallel_config  # late, as Dask

        with parallel_config(backend=_build_backend(client)):
            yield


@contextmanager
def open_cluster(place: DaskCluster, least: int = 1) -> Iterator[Any]:
    """A client of the cluster, which has at least so many workers; Dask's default client within.

    Raises `ClusterError` where Dask is not installed, where no scheduler answers or too few workers
    do, for workers that do not see this folder, and for whatever Dask gives up within.
    """
    dask, distributed = _import_dask()
    lost = (distributed.KilledWorker, CancelledError, distributed.comm.CommClosedError)
    try:
        with ExitStack() as opened, dask.config.set({MINUTES: place.minutes}):
            address = place.scheduler
            if address is None:
                cluster = distributed.LocalCluster(
                    n_workers=place.workers or max(least, os.cpu_count() or 1),
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                    preload=[NO_STDOUT],
                )
                address = opened.enter_context(cluster).scheduler_address
            client = opened.enter_context(_connect(distributed, address))
            _check_workers(client, least)
            yield client
    except lost as error:
        raise ClusterError(
            f"Dask gave up: {str(error) or type(error).__name__} Workers were killed, probably "
            "for want of memory, or the scheduler has ended",
            "What was finished is kept: run it again, with more memory for each worker",
        ) from error


def _import_dask() -> tuple[Any, Any]:
    try:
        import dask
        import dask.array
        import distributed
    except ImportError:
        advice = "Install it: pip install 'forgerystack[dask]'; or set the engine to local"
        raise ClusterError("engine dask: Dask is not installed", advice) from None
    return dask, distributed


def _connect(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        advice = "Start one: dask scheduler (docs/guide/cluster.md)"
        raise ClusterError(f"dask.scheduler {address}: {error}", advice) from error


def _check_workers(client: Any, least: int) -> None:
    """That there are so many, that they work in this folder, and can import what is here."""
    try:
        client.wait_for_workers(least, timeout=SECONDS)
        folders = client.run(find_folder)
    except TimeoutError:
        advice = "Start them in this folder: dask worker ADDRESS (docs/guide/cluster.md)"
        found = len(client.nthreads())
        raise ClusterError(f"Dask has {found} workers, {least} are needed", advice) from None
    except ImportError as error:
        advice = "Start workers with the Python of this project: .venv/bin/dask worker ADDRESS"
        raise ClusterError(f"workers of Dask cannot import this project: {error}", advice) from None
    here = find_folder()
    for worker, folder in folders.items():
        if folder != here:
            advice = "Folders must have the same names on all machines: start it in this one"
            raise ClusterError(f"worker {worker} works in {folder}, not in {here}", advice)


def find_folder() -> str:
    """In which the process works: relative paths begin there."""
    return os.getcwd()


def _build_backend(client: Any) -> Any:
    from joblib._dask import DaskDistributedBackend  # registered by joblib as "dask"

    class Backend(DaskDistributedBackend):  # type: ignore[misc]
        """joblib's, and tasks that Dask gives up end the call: `Parallel` would wait for ever."""

        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
            job: Future[Any] = super().submit(func, callback)

            def tell(done: Future[Any]) -> None:
                error = done.exception()
                if error is not None and callback is not None:
                    callback(error)

            job.add_done_callback(tell)
            return job

    return Backend(client=client)
