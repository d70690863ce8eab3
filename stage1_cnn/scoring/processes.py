"""The processes of one training or dump, as `torchrun` starts them; usually there is just one.

All methods of `Processes` that talk to the others must be called by every process, in the same
order. With one process they cost nothing.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from features.errors import LostProcessError, Stopped
from stage1_cnn.networks.devices import pick_device, prepare_device
from stage1_cnn.scoring.roll_call import (
    RollCall,
    is_of_connection,
    open_roll_call,
    read_timeout,
)

Value = TypeVar("Value")


def slice_for_rank(rows: npt.NDArray, rank: int, world: int) -> npt.NDArray:
    """The part of a global batch that one of `world` ranks takes: none twice, none left out.

    Parts are contiguous: every world-th row would follow the even spread of the classes and give
    one rank nothing but reals.
    """
    return rows[rank * len(rows) // world : (rank + 1) * len(rows) // world]


@dataclass(frozen=True)
class Processes:
    """This process, its device, and how to reach the others."""

    device: torch.device
    rank: int = 0
    world: int = 1
    _host: Any = field(default=None, repr=False)
    """Group for values in the host's memory: asking the others must not wait for the device."""
    _calls: RollCall | None = field(default=None, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and logs."""
        return self.rank == 0

    def meet_after(self) -> AbstractContextManager[None]:
        """For what each process does by itself, however long it takes some: all meet at its end.

        Between other questions a process may take but `FORGERYSTACK_PROCESS_TIMEOUT`.
        """
        return nullcontext() if self._calls is None else self._calls.meet_after(read_timeout())

    def add(self, values: Tensor) -> Tensor:
        """The sum over all processes of a tensor on the device, the same on each."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def any(self, *flags: bool) -> list[bool]:
        """Which flags at least one process has set."""
        if self.world == 1:
            return list(flags)
        merged = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(merged, dist.ReduceOp.MAX, group=self._host)
        return [bool(flag) for flag in merged]

    def broadcast(self, value: Value) -> Value:
        """What the first process has, on all of them."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._host)
        return box[0]

    def collect(self, value: Value) -> list[Value]:
        """What each process has, by rank, on all of them."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, group=self._host)
        return found

    def take_slice(self, rows: npt.NDArray) -> npt.NDArray:
        """The rows that this process works on; every row is some process's, and one's alone."""
        return slice_for_rank(rows, self.rank, self.world)

    def gather(self, part: npt.NDArray, total: int) -> npt.NDArray:
        """All `total` rows on every process, in order, from the slice that each has.

        Slices are those of `take_slice`; `part` has the rows of this one along its first axis.
        """
        if self.world == 1:
            return part
        sizes = [len(slice_for_rank(np.arange(total), r, self.world)) for r in range(self.world)]
        # Of equal length, as the collective wants them; the filling is cut off again.
        padded = np.zeros((max(sizes), *part.shape[1:]), part.dtype)
        padded[: len(part)] = part
        sent = torch.from_numpy(padded.view(np.uint8).reshape(-1))
        parts = [torch.empty_like(sent) for _ in range(self.world)]
        dist.all_gather(parts, sent, group=self._host)
        arrays = [p.numpy().view(part.dtype).reshape(padded.shape) for p in parts]
        return np.concatenate([a[:n] for a, n in zip(arrays, sizes, strict=True)])


@contextmanager
def join_processes() -> Iterator[Processes]:
    """This process and those that `torchrun` started beside it; leaves them at the end.

    Raises `ConfigError` for a device that is not there, or that they would have to share,
    `LostProcessError` where another one hangs or is dead.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    device = pick_device(int(os.environ.get("LOCAL_RANK", "0")), world)
    prepare_device(device)
    if world == 1:
        yield Processes(device)
        return
    calls = open_roll_call()
    backend, timeout = "nccl" if device.type == "cuda" else "gloo", read_timeout()
    dist.init_process_group(
        backend, store=calls.store, rank=calls.rank, world_size=world, timeout=timeout
    )
    host = dist.new_group(backend="gloo", timeout=timeout)
    try:
        yield Processes(device, calls.rank, world, host, calls)
    except Stopped:
        dist.destroy_process_group()
        raise
    except RuntimeError as error:
        # After an error of one process the others still wait for it, and leaving would wait for
        # them: neither leaves.
        if is_of_connection(error):
            raise LostProcessError(calls.find_lost(), timeout.total_seconds()) from error
        raise
    dist.destroy_process_group()
