"""Processes that die, hang or want too much: each costs its own task."""

import asyncio
import os
import time
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_service import list_workers

from serving.workers.bounding import bound_worker
from serving.workers.pools import WorkerLostError, WorkerPool, WorkerStartError


def die(content: bytes) -> None:
    os.abort()


def hang(content: bytes) -> None:
    time.sleep(600)


def chatter(content: bytes) -> int:
    """As C libraries complain, more than a pipe holds."""
    bound_worker(1 << 30)
    return sum(os.write(2, content) for _ in range(200))


def grow(content: bytes) -> str:
    bound_worker(64 << 20)
    try:
        return f"took {np.ones(256 << 20, np.uint8).nbytes} bytes"
    except MemoryError:
        return "refused"


def measure(content: bytes) -> tuple[int, int]:
    return len(content), os.getpid()


def prepare_slowly(log: Path) -> None:
    """As a large bundle is loaded on a machine under load."""
    with log.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(2)


def use_pool(
    use: Any, count: int = 1, seconds: float = 20, prepare: Any = partial(measure, b"")
) -> tuple[Any, list[str]]:
    """What `use` of a pool returns, and the losses; to `prepare` imports this module at least."""
    losses: list[str] = []

    async def run() -> Any:
        pool = WorkerPool(count, seconds, losses.append, prepare)
        try:
            return await use(pool)
        finally:
            await asyncio.to_thread(pool.stop)

    return asyncio.run(run()), losses


@pytest.mark.parametrize(("task", "loss"), [(die, "died"), (hang, "timeout")])
def test_what_ends_a_worker_ends_its_task_alone(task: Any, loss: str) -> None:
    async def use(pool: WorkerPool) -> list[Any]:
        await asyncio.gather(pool.run(measure, b""), pool.run(measure, b""))
        tasks: list[Coroutine[Any, Any, Any]] = [pool.run(task, b"")]
        tasks += [pool.run(measure, bytes(size)) for size in (1, 1 << 20, 3)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    (lost, *found), losses = use_pool(use, count=2, seconds=3)
    assert isinstance(lost, WorkerLostError)
    assert [size for size, _ in found] == [1, 1 << 20, 3]
    assert losses == [loss]


def test_a_worker_that_was_killed_while_it_waited_is_not_missed() -> None:
    async def use(pool: WorkerPool) -> tuple[int, int]:
        _, first = await pool.run(measure, b"")
        os.kill(first, 9)
        await asyncio.sleep(0.5)
        _, second = await pool.run(measure, b"")
        return first, second

    (first, second), losses = use_pool(use)
    assert first != second
    assert losses == []


def test_whoever_goes_while_a_worker_starts_leaves_none_behind() -> None:
    async def use(pool: WorkerPool) -> list[int]:
        for _ in range(3):
            asked = asyncio.create_task(pool.run(measure, b""))
            await asyncio.sleep(0.02)
            asked.cancel()
        await pool.run(measure, b"")
        return list_workers(os.getpid())

    workers, losses = use_pool(use)
    assert len(workers) == 1
    assert losses == []


def test_a_worker_has_a_bound_of_memory_and_says_nothing() -> None:
    async def use(pool: WorkerPool) -> tuple[str, int]:
        return await pool.run(grow, b""), await pool.run(chatter, b"x" * 4096)

    (refused, written), losses = use_pool(use)
    assert refused == "refused"
    assert written == 200 * 4096
    assert losses == []


def test_time_counts_from_when_a_task_has_a_worker() -> None:
    async def use(pool: WorkerPool) -> list[Any]:
        await pool.run(measure, b"")
        return await asyncio.gather(*(pool.run(time.sleep, 0.9) for _ in range(4)))

    found, losses = use_pool(use, seconds=3)
    assert found == [None] * 4
    assert losses == []


# --- preparing


def test_preparing_is_in_no_tasks_time_and_done_once(tmp_path: Path) -> None:
    async def use(pool: WorkerPool) -> list[int]:
        impatient = asyncio.create_task(pool.run(measure, b""))
        await asyncio.sleep(0.5)
        impatient.cancel()
        found = [await pool.run(measure, b"") for _ in range(2)]
        return [process for _, process in found]

    log = tmp_path / "log"
    found, losses = use_pool(use, seconds=1, prepare=partial(prepare_slowly, log))
    assert [str(process) for process in found] == log.read_text().split() * 2
    assert losses == []


def test_all_processes_are_there_before_the_first_task(tmp_path: Path) -> None:
    async def use(pool: WorkerPool) -> float:
        await asyncio.gather(pool.start(), pool.start())
        start = time.monotonic()
        await asyncio.gather(*(pool.run(time.sleep, 0.5) for _ in range(2)))
        return time.monotonic() - start

    log = tmp_path / "log"
    seconds, losses = use_pool(use, count=2, seconds=5, prepare=partial(prepare_slowly, log))
    assert seconds < 1.9
    assert len(log.read_text().split()) == 2
    assert losses == []


def test_a_process_that_dies_before_its_first_task_is_no_picture_s_fault() -> None:
    async def use(pool: WorkerPool) -> None:
        for ask in (pool.start, partial(pool.run, measure, b"")):
            with pytest.raises(WorkerStartError, match="did not start: it died"):
                await ask()

    _, losses = use_pool(use, prepare=partial(die, b""))
    assert losses == ["died", "died"]


def test_a_pool_ends_while_its_processes_prepare() -> None:
    async def use(pool: WorkerPool) -> None:
        asyncio.create_task(pool.start()).add_done_callback(lambda task: task.exception())
        await asyncio.sleep(3)

    start = time.monotonic()
    use_pool(use, prepare=partial(hang, b""))
    assert time.monotonic() - start < 30


def test_whoever_goes_while_a_worker_hangs_is_told_of_as_a_loss() -> None:
    async def use(pool: WorkerPool) -> int:
        await pool.start()
        asked = asyncio.create_task(pool.run(hang, b""))
        await asyncio.sleep(0.5)
        asked.cancel()
        size, _ = await pool.run(measure, b"x")
        return size

    assert use_pool(use) == (1, ["timeout"])
