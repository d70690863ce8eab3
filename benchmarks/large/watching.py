"""Steps in processes of their own, and what time and memory they take."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@contextmanager
def watch(found: dict[str, Any]) -> Iterator[None]:
    """Of this process: `seconds`, `cpu` seconds, and MB at most.

    `own` is its own memory (`RssAnon`, every 20 ms), `all` has the pages of files that it has
    mapped, too (`VmHWM`); the system takes those back where it is short.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the peak of what was before
    done, most = threading.Event(), [read_status("RssAnon")]

    def look() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], read_status("RssAnon"))

    thread = threading.Thread(target=look, daemon=True)
    start, cpu = time.perf_counter(), time.process_time()
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    found |= {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    found |= {"own": max(most[0], read_status("RssAnon")), "all": read_status("VmHWM")}


def read_status(name: str) -> float:
    """MB of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024


def run_alone(run: Callable[..., Any], *args: Any) -> Any:
    """What `run` returns, from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, *args).result()


def measure_alone(run: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """What `watch` finds of `run`, in a process of its own."""
    figures: dict[str, Any] = run_alone(_measure, run, *args)
    return figures


def _measure(run: Callable[..., Any], *args: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with watch(found):
        run(*args)
    return found
