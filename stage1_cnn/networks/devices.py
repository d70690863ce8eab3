"""Where networks run: the device, and the precision that it computes in."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor

from features.errors import ConfigError, DeviceMemoryError

Precision = Literal["auto", "float32", "bfloat16", "float16"]
SCORE_LESS = "Free it of other work, or set dump.image_size lower"
"""What helps where networks only score."""
ASKED = "FORGERYSTACK_DEVICE"
"""Environment variable: `auto`, or the device to take."""
WANTED = "Name one such as cpu or cuda:1, or auto: a GPU where there is one, else the CPU"
DRIVER = Path("/dev/nvidia0")
"""There as soon as a driver runs a card, whatever torch makes of it."""
FULL_DEVICE = ("ALLOC_FAILED",)  # cuBLAS, cuDNN
FULL_HOST = ("CUDA error: out of memory", "HOST_ALLOCATION_FAILED", "can't allocate memory")
"""In the texts of errors without a type of their own. Pinned memory of the host is CUDA's too."""
_log = logging.getLogger("forgerystack")


def pick_device(local_rank: int = 0, world: int = 1) -> torch.device:
    """CUDA where there is one; `FORGERYSTACK_DEVICE` (`cpu`, `cuda:1`) decides otherwise.

    Of `world` processes each has a card of its own, by `local_rank` on its machine. Raises
    `ConfigError` for a device that is not there, that this build of torch has no kernels for, or
    that several processes would have to share.
    """
    asked = os.environ.get(ASKED, "auto")
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
        if asked == "cpu" and DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
            _log.warning(
                "there is a GPU (%s), but torch %s cannot use it, most often because its driver is "
                "too old for CUDA %s: on the CPU, which takes many times as long",
                DRIVER, torch.__version__, torch.version.cuda,
            )  # fmt: skip
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise ConfigError(ASKED, [f"{asked!r} is no device"], WANTED) from None
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise ConfigError(ASKED, [f"{asked} was asked for, but there is no CUDA"], WANTED)
    return _pick_card(device, local_rank, world)


def _pick_card(device: torch.device, local_rank: int, world: int) -> torch.device:
    if device.index is not None and world > 1:
        problem = f"{device} is one card, and {world} processes want one each"
        raise ConfigError(ASKED, [problem], "Choose the cards with CUDA_VISIBLE_DEVICES=0,1")
    if device.index is None:
        device = torch.device("cuda", local_rank)
    cards = torch.cuda.device_count()
    if device.index >= cards:
        problem = f"{device} was asked for, but the number of cards is {cards}"
        raise ConfigError(ASKED, [problem], "Start as many processes as there are cards")
    return device


def prepare_device(device: torch.device) -> None:
    """Makes `device` that of this process, and lets cuDNN try its algorithms out.

    float32 is float32 from here on: in TF32, which cuDNN takes by default, 10 of 23 bits are left,
    and blur, noise maps and Grad-CAM would not be those of a CPU. Raises `ConfigError` for a card
    that this build of torch has no kernels for.
    """
    if device.type != "cuda":
        return
    capability, built = torch.cuda.get_device_capability(device), torch.cuda.get_arch_list()
    if built and torch.version.hip is None and not has_kernels(capability, built):
        card, version = torch.cuda.get_device_name(device), "sm_{}{}".format(*capability)
        problem = (
            f"{card} ({version}): torch {torch.__version__} has kernels for {', '.join(built)}"
        )
        advice = (
            "Take another card (on Kaggle: T4 x2), or a torch that was built for this one, or the "
            "CPU: FORGERYSTACK_DEVICE=cpu"
        )
        raise ConfigError("GPU", [problem], advice)
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = True  # shapes never change within a training
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def has_kernels(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Whether a card of this compute capability runs code that was built for `built`.

    It runs binaries (`sm_86`) of its own major version up to its own minor one, and intermediate
    code (`compute_80`) of any version up to its own.
    """
    for name in built:
        kind, _, digits = name.rstrip("af").partition("_")
        version = divmod(int(digits), 10)
        if version <= capability and (kind == "compute" or version[0] == capability[0]):
            return True
    return False


def fixed_algorithms() -> AbstractContextManager[None]:
    """Within it cuDNN gives the same bits on every run.

    Elsewhere it takes what was fastest in a trial: a matter of chance, and each algorithm rounds
    its own way.
    """
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )


@contextmanager
def tell_memory(device: torch.device, advice: str = SCORE_LESS) -> Iterator[None]:
    """Raises `DeviceMemoryError` with `advice` for want of memory within, on the device or for it.

    Not all of it has a type: cuBLAS, cuDNN and pinned memory of the host only say so.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError) or _mentions(error, FULL_DEVICE):
            raise DeviceMemoryError(device, advice) from error
        if isinstance(error, MemoryError) or _mentions(error, FULL_HOST):
            raise DeviceMemoryError("this machine", advice) from error
        raise


def _mentions(error: Exception, texts: Sequence[str]) -> bool:
    return any(text in str(error) for text in texts)


def send(values: npt.NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """`values` on `device`, copied without waiting for the work queued there."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if device.type == "cuda":  # out of pageable memory it would wait
        tensor = pin(tensor)
    return tensor.to(device, non_blocking=True)


def pin(tensor: Tensor) -> Tensor:
    """`tensor` in pinned memory, which torch keeps until copies from it are done."""
    return tensor.pin_memory()


def read_later(*tensors: Tensor) -> Callable[[], list[Tensor]]:
    """Starts to copy tensors of one device to the host; the returned function waits for them.

    Read at once, they would keep the host from handing the device its next work.
    """
    if tensors[0].device.type != "cuda":
        return lambda: [tensor.cpu() for tensor in tensors]
    there = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # into pinned memory
    arrived = torch.cuda.Event()
    arrived.record()

    def read() -> list[Tensor]:
        arrived.synchronize()
        return there

    return read


def choose_precision(asked: Precision, device: torch.device) -> torch.dtype:
    """What convolutions and products compute in; weights, sums and heads stay float32.

    `auto`: bfloat16 on cards that have it, float16 on older ones (T4), float32 on a CPU. Raises
    `ConfigError` for bfloat16 on a card without it.
    """
    if asked == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if _has_bfloat16() else torch.float16
    if asked == "bfloat16" and device.type == "cuda" and not _has_bfloat16():
        name = torch.cuda.get_device_name(device)
        problem = f"network.precision bfloat16: {name} has none; auto takes float16 there"
        raise ConfigError("params.yaml", [problem])
    return {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }[asked]


def _has_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def describe_device(device: torch.device) -> str:
    """`NVIDIA H100`, or `CPU, 2 threads`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads"
