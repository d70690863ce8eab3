"""Two machines with two processes each, as two launchers on this one."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PATIENCE = 20
"""Seconds until a process is given up; busy machines are slow."""


class Machines:
    """Launchers of `torchrun` with one rendezvous, which run `program` in `folder`."""

    def __init__(
        self,
        folder: Path,
        program: Sequence[str],
        patience: float = 300,
        path: Sequence[Path] = (),
        **environment: str,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
        launcher += ["--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-id", "7"]
        launcher += ["--rdzv-endpoint", f"127.0.0.1:{port}", *program]
        known = {**os.environ, "FORGERYSTACK_PROCESS_TIMEOUT": str(patience), **environment}
        known.pop("PYTHONPATH", None)
        if path:
            known["PYTHONPATH"] = os.pathsep.join(map(str, path))
        self.logs = [folder / f"machine{i}.log" for i in range(2)]
        self.launchers = []
        for log in self.logs:
            with open(log, "wb") as said:
                self.launchers.append(
                    subprocess.Popen(launcher, cwd=folder, env=known, stdout=said, stderr=said)
                )

    @property
    def said(self) -> str:
        return "".join(log.read_text(encoding="utf-8") for log in self.logs)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + 300
        while not is_so():
            assert time.monotonic() < end, self.said
            assert all(launcher.poll() is None for launcher in self.launchers), self.said
            time.sleep(0.05)

    def find_workers(self, machine: int) -> list[int]:
        children = f"/proc/{self.launchers[machine].pid}/task"
        found = []
        for task in os.listdir(children):
            found += map(int, Path(children, task, "children").read_text().split())
        return sorted(found)

    def lose(self, number: signal.Signals) -> None:
        """Sends a signal to one process of the second machine; all end, and say which it was."""
        workers = self.find_workers(0) + self.find_workers(1)
        lost = self.find_workers(1)[-1]
        os.kill(lost, number)
        start = time.monotonic()
        assert all(self.wait()), self.said
        assert time.monotonic() - start < 120  # a launcher kills what hangs after 30 s
        named = rf"process \d of 4 \({socket.gethostname()}, pid {lost}\) ended "
        assert re.search(named, self.said)
        assert not [pid for pid in workers if is_alive(pid)]

    def wait(self) -> list[int]:
        return [launcher.wait(timeout=240) for launcher in self.launchers]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
