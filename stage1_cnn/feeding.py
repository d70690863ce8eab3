"""Batches that are ready on the device when they are wanted: loaded and copied beside the work."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

Rest = TypeVar("Rest")
AHEAD = 2
"""Batches that wait on the device: one is not enough where loading times vary."""


class Loaded(NamedTuple, Generic[Rest]):
    """What is loaded of one batch: `tensors` go to the device, `rest` stays."""

    tensors: tuple[Tensor, ...]
    rest: Rest


def feed(
    load: Callable[[int], Loaded[Rest]], first: int, stop: int, device: torch.device
) -> Iterator[Loaded[Rest]]:
    """Batches `first` … `stop - 1` in order, their tensors on `device`.

    One thread loads them, so `load` needs no lock. On CUDA the thread copies them as well, out of
    pinned memory and on a stream of its own, so that neither the device nor the host waits.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def prepare(number: int) -> tuple[Loaded[Rest], torch.cuda.Event | None]:
        loaded = load(number)
        if stream is None:
            return loaded, None
        with torch.cuda.stream(stream):
            pinned = [tensor.pin_memory() for tensor in loaded.tensors]
            moved = tuple(tensor.to(device, non_blocking=True) for tensor in pinned)
            copied = torch.cuda.Event()
            copied.record(stream)
        return Loaded(moved, loaded.rest), copied

    with ThreadPoolExecutor(1) as beside:
        coming: deque[Future] = deque()
        for number in range(first, stop):
            while len(coming) <= AHEAD and number + len(coming) < stop:
                coming.append(beside.submit(prepare, number + len(coming)))
            loaded, copied = coming.popleft().result()
            if copied is not None:
                working = torch.cuda.current_stream(device)
                working.wait_event(copied)
                for tensor in loaded.tensors:
                    tensor.record_stream(working)  # its memory is free only when that is done
            yield loaded
