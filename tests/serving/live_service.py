"""The service as a process of its own, and its workers by their numbers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

PATIENCE = 60
"""Seconds; two busy cores start Python in five."""


@dataclass
class Live:
    """A service that answers at `address`."""

    process: subprocess.Popen[str]
    address: str
    client: httpx2.Client


def wait_until(is_true: Callable[[], object]) -> None:
    """Fails after a while."""
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def start_service(bundle: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """The process and its address, before it is ready."""
    command = [sys.executable, "-m", "serving.serve", "--bundle", str(bundle), "--port", "0"]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    line = process.stdout.readline()
    assert "http://" in line, line + process.stdout.read()
    return process, "http://" + line.split("http://")[1].split(",")[0]


@contextmanager
def serve(bundle: Path, *options: str) -> Iterator[Live]:
    """A service that is ready."""
    process, address = start_service(bundle, *options)
    with httpx2.Client(base_url=address, timeout=PATIENCE) as client:
        try:
            wait_until(lambda: client.get("/healthz").status_code == 200)
            yield Live(process, address, client)
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def list_workers(pid: int) -> list[int]:
    """Processes that decode for the service `pid`."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_text()
        except (OSError, IndexError, ValueError):
            continue
        if parent == pid and "anyio.to_process" in command:
            found.append(int(folder.name))
    return found


@contextmanager
def hold_workers(pid: int) -> Iterator[list[int]]:
    """Within, the workers of the service `pid` do not go on."""
    workers = list_workers(pid)
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        yield workers
    finally:
        for worker in set(workers) & set(list_workers(pid)):
            os.kill(worker, signal.SIGCONT)
