"""Batches that are ready on the device when they are wanted: loaded and copied beside the work."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from features.core.manifest import Ids
from features.crops.crop_store import CropStore
from features.crops.places import Corners
from features.pixels.store import ImageStore
from stage1_cnn.networks.devices import send

Rest = TypeVar("Rest")
AHEAD = 2
"""Batches that wait on the device: one is not enough where loading times vary."""


class Loaded(NamedTuple, Generic[Rest]):
    """What is loaded of one batch: `tensors` go to the device, `rest` stays."""

    tensors: tuple[Tensor, ...]
    rest: Rest


def gather_pixels(
    store: ImageStore, row_ids: Ids, device: torch.device, corners: Corners | None = None
) -> Tensor:
    """`(b, s, s, 3)` uint8 on the host, in pinned memory where `device` is a GPU.

    `corners`: those of the squares that a `CropStore` is to cut; else it is asked for the middle.

    torch keeps pinned memory and gives it out again once what was copied out of it has arrived, so
    that no batch pays for new pages, nor for a second copy into pinned ones.
    """
    shape = (len(row_ids), store.size, store.size, 3)
    pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    if corners is None:
        store.gather(row_ids, out=pixels.numpy())
    else:
        assert isinstance(store, CropStore)
        store.cut(row_ids, corners, out=pixels.numpy())
    return pixels


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
            moved = tuple(send(tensor, device) for tensor in loaded.tensors)
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
