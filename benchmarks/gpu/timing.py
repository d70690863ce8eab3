"""How fast a device copies and multiplies, and where the time of a training step goes."""

import itertools
import statistics
from collections.abc import Callable

import torch
from torch.autograd.profiler_util import EventList, FunctionEventAvg
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.report import Report
from benchmarks.gpu.sides import Side, measure_turn, wait
from stage1_cnn.networks.devices import choose_precision

UNTIMED, TIMED = 3, 20
SHOWN, STEPS = 3, 3
"""Parts of a profile that are told, and steps that it looks at."""


def time_on_device(run: Callable[[], object], device: torch.device) -> float:
    """Median seconds of one call of `run`, by events on the current stream."""
    for _ in range(UNTIMED):
        run()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(TIMED + 1)]
    marks[0].record()
    for mark in marks[1:]:
        run()
        mark.record()
    wait(device)
    spent = [start.elapsed_time(end) for start, end in itertools.pairwise(marks)]
    return statistics.median(spent) / 1000


def measure_card(report: Report) -> None:
    """Bytes and products a second: what all other numbers stand against."""
    device = report.device
    big = torch.zeros(2 << 30, dtype=torch.uint8, device=device)
    other = torch.empty_like(big)
    copied = time_on_device(lambda: other.copy_(big), device)
    report.value("copy", 2 * big.numel() / copied / 1e12, "TB/s read and written")
    pinned = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=True)
    there = big[: pinned.numel()]
    moved = time_on_device(lambda: there.copy_(pinned, non_blocking=True), device)
    report.value("host_to_device", pinned.numel() / moved / 1e9, "GB/s")
    half = choose_precision("auto", device)
    a, b = (torch.randn(8192, 8192, device=device, dtype=half) for _ in range(2))
    taken = time_on_device(lambda: a @ b, device)
    report.value(str(half).removeprefix("torch."), 2 * 8192**3 / taken / 1e12, "TFLOP/s")


def profile_steps(report: Report, model: str, side: Side) -> None:
    """The largest costs of a few steps on the device, as operators of torch; on a CPU, its own.

    With a folder for tables, also `MODEL.device.txt` and `MODEL.cpu.txt`, kernel by kernel.
    """
    kinds = [ProfilerActivity.CPU]
    if not report.small:
        kinds.append(ProfilerActivity.CUDA)
    measure_turn(side, STEPS, report.device)
    with profile(activities=kinds) as seen:
        measure_turn(side, STEPS, report.device)
    averages = seen.key_averages()
    key = "self_cpu_time_total" if report.small else "self_device_time_total"
    costs = list_costs(averages, key)
    total = sum(costs.values())
    if not total:
        report.skip(f"{model}.profile", "the profiler sees nothing of the device")
        return
    for name in sorted(costs, key=costs.__getitem__, reverse=True)[:SHOWN]:
        report.profile(model, name, costs[name] / total)
    if report.out is not None:
        report.out.mkdir(parents=True, exist_ok=True)
        for key in ("self_cpu_time_total", "self_device_time_total")[: len(kinds)]:
            text = averages.table(sort_by=key, row_limit=30, max_name_column_width=100)
            (report.out / f"{model}.{key.split('_')[1]}.txt").write_text(text)


def list_costs(averages: EventList, key: str) -> dict[str, float]:
    """Microseconds of each operator by itself. Its kernels are left out: they are in it."""
    costs: dict[str, float] = {}
    for event in averages:
        if is_operator(event):
            costs[event.key] = costs.get(event.key, 0.0) + getattr(event, key)
    return costs


def is_operator(event: FunctionEventAvg) -> bool:
    """Whether the host has called it; kernels and marks of the user are other events."""
    return event.device_type == torch.autograd.DeviceType.CPU and not event.is_user_annotation
