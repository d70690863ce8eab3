"""Processes that die, hang or want too much: each costs its own task."""

import asyncio
import os
import time
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest
from live_service import list_workers

from serving.workers.bounding import bound_worker
from serving.workers.pools import WorkerLostError, WorkerPool


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


def use_pool(use: Any, count: int = 1, seconds: float = 20) -> tuple[Any, list[str]]:
    """What `use` of a pool returns, and the losses."""
    losses: list[str] = []

    async def run() -> Any:
        pool = WorkerPool(count, seconds, losses.append)
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
