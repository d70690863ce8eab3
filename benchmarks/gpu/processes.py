"""Several processes: NCCL in a group of one, and two processes that share the one device.

A card for each would be the real thing. Here two take one: by gloo, which goes through the host's
memory, and by NCCL from 2.30 on, which refused that before.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.gpu.pair import STEPS, start_pair
from benchmarks.gpu.report import ROOT, Report, measure_error
from benchmarks.gpu.sides import choose_settings
from benchmarks.gpu.tasks import Task, advance
from stage1_cnn.networks.network import build_network
from stage1_cnn.scoring.processes import Processes

PATIENCE = 120
"""Seconds that two processes may take."""
OF_WAY = {
    "gloo": {"GLOO_SOCKET_IFNAME": "lo"},
    "nccl": {
        "NCCL_SOCKET_IFNAME": "lo",
        "NCCL_MULTI_RANK_GPU_ENABLE": "1",
        "NCCL_NVLS_ENABLE": "0",
    },
}
"""What the environment must say; a machine of its own may not even know its own name."""


def check(report: Report) -> None:
    """NCCL alone, then each way that two processes can go."""
    if report.small:
        report.skip("nccl", "needs CUDA")
    else:
        with report.part("nccl"):
            try_nccl(report)
    with tempfile.TemporaryDirectory() as folder:
        trainer, loader = start_pair(Task(Path(folder)), Processes(report.device))
        advance(trainer, loader, 0, STEPS)
        wanted = trainer.network.state_dict()
        for way in ("gloo", "nccl"):
            if way == "nccl" and (report.small or torch.cuda.nccl.version() < (2, 30)):
                report.skip("pair.nccl", "needs CUDA and NCCL 2.30, for two processes on a card")
                continue
            with report.part(f"pair.{way}"):
                found = run_pair(report.device, way, Path(folder))
                error = max(measure_error(found[k], v) for k, v in wanted.items() if v.ndim > 1)
                report.check(f"pair.{way}", error < 5e-3, f"{error:.1e}")


def try_nccl(report: Report) -> None:
    """A sum, and gradients through `DistributedDataParallel`."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"file://{folder}/rendezvous"
        dist.init_process_group("nccl", init_method=place, rank=0, world_size=1)
        try:
            total = torch.ones((), device=report.device)
            dist.all_reduce(total)
            network = build_network(choose_settings("test_resnet", 64, 2))
            network.to(report.device, memory_format=torch.channels_last)
            called = nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)
            called(torch.randn(4, 3, 64, 64, device=report.device)).sum().backward()
            learns = all(p.grad is not None for p in network.parameters())
            told = f"sum {float(total):g} of 1, gradients {learns}"
            report.check("nccl", learns and float(total) == 1, told)
        finally:
            dist.destroy_process_group()


def run_pair(device: torch.device, way: str, folder: Path) -> dict[str, Tensor]:
    """Weights after a few steps of two processes that share the device.

    Raises `RuntimeError` where one of them fails, or they take too long.
    """
    out = folder / f"{way}.pt"
    # Without an index in its name the device is that of the local rank: here one for both.
    environment = {
        **os.environ,
        **OF_WAY[way],
        "FORGERYSTACK_DEVICE": device.type,
        "WORLD_SIZE": "2",
        "LOCAL_RANK": str(device.index or 0),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_port()),
    }
    command = [sys.executable, "-m", "benchmarks.gpu.pair", way, str(out)]
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment | {"RANK": str(rank)})
        for rank in range(2)
    ]
    try:
        wait_for(started, time.monotonic() + PATIENCE)
    finally:
        for process in started:
            process.kill()
            process.wait()
    found: dict[str, Tensor] = torch.load(out)
    return found


def find_free_port() -> int:
    """One that nobody listens on at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wait_for(started: list[subprocess.Popen[bytes]], stop: float) -> None:
    """Until all have ended well; raises `RuntimeError` as soon as one has not."""
    while any(process.poll() is None for process in started):
        if any(process.poll() for process in started) or time.monotonic() > stop:
            break
        time.sleep(0.1)
    codes = [process.poll() for process in started]
    if codes != [0] * len(started):
        raise RuntimeError(f"processes ended with {codes}; None was not done")
