"""Several processes of one stage on this machine, by torch's own launcher (that of `torchrun`)."""

import logging
import os
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from features.errors import Stopped
from features.runtime.cli import LAUNCHED, STOPPED
from features.runtime.interruption import STARTED, find_start
from stage1_cnn.networks.devices import pick_device

GRACE = 60
"""Seconds that processes have to save in before they are killed."""


def build_environment(count: int) -> dict[str, str]:
    """What `count` processes inherit: who started them, when the time began, their share of cores.

    As torchrun does it: processes that each take all cores are in each other's way.
    """
    cores = str(max(1, (os.cpu_count() or 1) // count))
    return {
        STARTED: str(find_start()),
        LAUNCHED: str(os.getpid()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", cores),
    }


def launch_processes(module: str, arguments: Sequence[str], count: int) -> None:
    """Runs `python -m module *arguments` in `count` processes, and waits for them.

    Raises `ConfigError` where they cannot have a card each, `Stopped` where they stopped to go on
    later, `SystemExit` with their exit code where they failed; they have said why.
    """
    pick_device(count - 1, count)  # said once, and not by each of them
    os.environ.update(build_environment(count))
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):  # what it says of signals, we say
            logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        run_id=str(os.getpid()),
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        shutdown_timeout=GRACE,
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, *arguments)
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        if codes == {STOPPED}:
            raise Stopped(f"in {count} processes") from None
        failed = sorted(code for code in codes if code > 0 and code != STOPPED)
        raise SystemExit(failed[-1] if failed else 1) from None
    except SignalException as stop:
        raise Stopped(f"in {count} processes ({stop.sigval.name})") from None
