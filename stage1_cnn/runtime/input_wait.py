"""How long the device waits for pictures, and what would help."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from joblib import cpu_count

from features.crops.crop_store import FittedStore
from features.crops.picture_store import FilePictures
from features.pixels.store import FileStore, ImageStore

MUCH = 0.1
"""Share of the time from which on there is advice."""
LITTLE = 0.4
"""Share of a GPU's memory below which there is room for a batch of twice the size."""
Item = TypeVar("Item")


class InputWait:
    """Adds up the time in which the device has nothing to do for want of the next batch."""

    def __init__(self, device: torch.device) -> None:
        self._mark: Callable[[], Any] = _HostMark if device.type == "cpu" else _DeviceMark
        self.seconds = 0.0

    def watch(self, batches: Iterable[Item]) -> Iterator[Item]:
        """`batches`, of each of which a result is read before the next one is asked for.

        On a GPU the time is the device's own, from the end of its work to the batch's arrival: the
        host may wait while the device is still busy. The first wait, with empty queues, does not
        count.
        """
        ended = None
        for item in batches:
            begun = self._mark()
            yield item
            if ended is not None:
                self.seconds += begun.measure_since(ended)
            ended = self._mark()


class _HostMark:
    """A point in time, on a CPU: it is idle while the host waits."""

    def __init__(self) -> None:
        self._at = time.perf_counter()

    def measure_since(self, earlier: "_HostMark") -> float:
        """Seconds since `earlier`."""
        return self._at - earlier._at


class _DeviceMark:
    """A point in the work queued on a GPU, recorded without waiting for it."""

    def __init__(self) -> None:
        self._event = torch.cuda.Event(enable_timing=True)
        self._event.record()

    def measure_since(self, earlier: "_DeviceMark") -> float:
        """Seconds since `earlier`; waits until the device has reached this point."""
        self._event.synchronize()
        return float(earlier._event.elapsed_time(self._event)) / 1000


def advise_input(share: float, store: ImageStore, damaged: float) -> str:
    """What helps a device that waits for pictures this share of the time; empty if it does not.

    `damaged`: the share of pictures that `augment.web` changes first.
    """
    if share < MUCH:
        return ""
    if isinstance(store, FittedStore):
        needed = int(store.pictures.sizes.astype(np.int64).prod(axis=1).sum()) * 3
        is_decoded_anew = isinstance(store.pictures, FilePictures)
    else:
        needed = len(store) * store.size**2 * 3
        is_decoded_anew = isinstance(store, FileStore)
    size = f"{needed / 1e9:.1f} GB"
    if is_decoded_anew:
        cause = f"each is decoded anew at every use, on {cpu_count()} cores"
        remedy = f"images.store raw keeps them decoded, {size} in images.store_dir"
    elif damaged:
        cause = f"augment.web damages {100 * damaged:.0f} % of them, on {cpu_count()} cores"
        remedy = "lower it, or have more cores"
    else:
        cause = "the disk of images.store_dir is slower than the device"
        remedy = f"take a faster disk for it, or more memory, which keeps what was read ({size})"
    return f"the device waits for pictures {100 * share:.0f} % of the time: {cause}; {remedy}"


def advise_batch(device: torch.device) -> str:
    """What helps a GPU most of whose memory is idle; empty for others."""
    if device.type != "cuda":
        return ""
    used = torch.cuda.max_memory_reserved(device)
    total = torch.cuda.get_device_properties(device).total_memory
    if used > LITTLE * total:
        return ""
    return (
        f"the training takes {used / 1e9:.1f} of {total / 1e9:.1f} GB of memory: a larger "
        "schedule.batch_size, with optimizer.lr raised by the square root of the factor, or "
        "network.compile may be faster"
    )
