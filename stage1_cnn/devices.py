"""Where networks run: the device, and the precision that it computes in."""

import os
from typing import Literal

import torch

from features.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16", "float16"]


def pick_device(local_rank: int = 0) -> torch.device:
    """CUDA where there is one; `FORGERYSTACK_DEVICE` (`cpu`, `cuda:1`) decides otherwise.

    Of several processes on a machine each has a card of its own, by `local_rank`.
    Raises `ConfigError` for a device that is not there.
    """
    asked = os.environ.get("FORGERYSTACK_DEVICE", "auto")
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise ConfigError("FORGERYSTACK_DEVICE", [f"{asked!r} is no device"]) from None
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise ConfigError("FORGERYSTACK_DEVICE", [f"{asked} was asked for, but there is no CUDA"])
    if device.index is None:
        device = torch.device("cuda", local_rank)
    if device.index >= torch.cuda.device_count():
        problem = f"{device} was asked for, but there are {torch.cuda.device_count()} cards"
        raise ConfigError("FORGERYSTACK_DEVICE", [problem], "Start as many processes as cards.")
    return device


def prepare_device(device: torch.device) -> None:
    """Makes `device` that of this process, and lets cuDNN try its algorithms out."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # shapes never change within a training


def choose_precision(asked: Precision, device: torch.device) -> torch.dtype:
    """What convolutions and products compute in; weights, sums and heads stay float32.

    `auto`: bfloat16 on cards that have it, float16 on older ones (T4, V100), float32 on a CPU.
    Raises `ConfigError` for bfloat16 on a card without it.
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
