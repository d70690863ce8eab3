"""How much memory there is, in a container too, and how many share it."""

from pathlib import Path

import pytest

from features.runtime import memory
from features.runtime.memory import (
    WORKER,
    count_workers,
    measure_free_memory,
    measure_worker_memory,
)

GB = 1 << 30


def write_files(root: Path, **files: str) -> Path:
    """Files whose `/` is written `__`, on a machine with 8 GB free."""
    files = {"proc__meminfo": f"MemTotal: 99 kB\nMemAvailable: {8 * GB >> 10} kB\n", **files}
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_machine_without_groups_has_what_it_says(tmp_path: Path) -> None:
    assert measure_free_memory(write_files(tmp_path)) == 8 * GB


def test_a_group_of_version_2_limits_it(tmp_path: Path) -> None:
    group = {
        "proc__self__cgroup": "0::/pod/box\n",
        "sys__fs__cgroup__pod__box__memory_dot_max": "max\n",
        "sys__fs__cgroup__pod__box__memory_dot_current": f"{2 * GB}\n",
        "sys__fs__cgroup__pod__memory_dot_max": f"{4 * GB}\n",
        "sys__fs__cgroup__pod__memory_dot_current": f"{3 * GB}\n",
        "sys__fs__cgroup__pod__memory_dot_stat": f"anon {GB}\ninactive_file {GB}\n",
    }
    assert measure_free_memory(write_files(tmp_path, **group)) == 2 * GB


def test_a_group_of_version_1_limits_it_where_its_path_is_hidden(tmp_path: Path) -> None:
    group = {
        "proc__self__cgroup": "5:cpu,cpuacct:/\n4:memory:/docker/abc\n0::/\n",
        "sys__fs__cgroup__memory__memory_dot_limit_in_bytes": f"{3 * GB}\n",
        "sys__fs__cgroup__memory__memory_dot_usage_in_bytes": f"{GB}\n",
    }
    assert measure_free_memory(write_files(tmp_path, **group)) == 2 * GB


@pytest.mark.fault("more large pictures than the memory holds")
@pytest.mark.parametrize(("free", "workers"), [(99 * WORKER, 8), (3 * WORKER, 3), (WORKER // 9, 1)])
def test_workers_are_as_many_as_cores_and_memory_allow(
    free: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "cpu_count", lambda: 8)
    monkeypatch.setattr(memory, "measure_free_memory", lambda: free)
    for function in (count_workers, measure_worker_memory):
        function.cache_clear()
    try:
        assert count_workers() == workers
        assert measure_worker_memory() == free // (workers + 1)
    finally:
        for function in (count_workers, measure_worker_memory):
            function.cache_clear()
