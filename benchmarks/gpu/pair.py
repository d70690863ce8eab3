"""One of two processes that train together on one device: `benchmarks.gpu.processes` starts both.

python -m benchmarks.gpu.pair gloo|nccl OUT, in an environment as `torchrun` makes it. The first
writes the weights to OUT.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.gpu.tasks import Task, advance
from features.settings.learning import Ema, Optimizer
from stage1_cnn.sampling.loader import BatchLoader
from stage1_cnn.scoring.processes import Processes, join_processes
from stage1_cnn.train.trainer import Trainer

STEPS = 6


def start_pair(task: Task, processes: Processes) -> tuple[Trainer, BatchLoader]:
    """What both train, and one alone, to the same weights.

    Statistics of batch norm are shared on GPUs alone, so a CPU has a network without.
    """
    model = "test_convnext" if processes.device.type == "cpu" else "test_resnet"
    return task.start(processes, model=model, ema=Ema(decay=0.9), optimizer=Optimizer(lr=1e-3))


def choose_way(way: str) -> None:
    """`join_processes` goes that way, whatever the device."""
    begin = dist.init_process_group

    def begin_so(backend: str, **options: Any) -> None:
        begin(way, **options)

    dist.init_process_group = begin_so


def main(way: str, out: str) -> None:
    """Train, and let the first write."""
    torch.set_num_threads(1)
    choose_way(way)
    with tempfile.TemporaryDirectory() as folder, join_processes() as processes:
        trainer, loader = start_pair(Task(Path(folder)), processes)
        advance(trainer, loader, 0, STEPS)
        state = {name: value.cpu() for name, value in trainer.network.state_dict().items()}
        if processes.is_first:
            torch.save(state, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
