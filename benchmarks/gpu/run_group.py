"""One group, in this process: `python -m benchmarks.gpu.run_group NAME --device cuda:0`.

`gpu_check` starts it for each group, so that an error on the device ends that group alone.
"""

import argparse
import importlib
import os
from pathlib import Path

import torch

from benchmarks.gpu.report import Report
from stage1_cnn.networks.devices import prepare_device


def pick_card(name: str) -> torch.device:
    """The device of that name; of CUDA the first card, unless it says which."""
    device = torch.device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", 0)
    return device


def main() -> None:
    """Say what the group finds, or what it broke of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group")
    parser.add_argument("--device", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--until", type=float, default=float("inf"))
    given = parser.parse_args()
    device = pick_card(given.device)
    os.environ["FORGERYSTACK_DEVICE"] = str(device)
    report = Report(given.group, device, given.quick, given.out, given.until)
    with report.part("group"):
        prepare_device(device)
        importlib.import_module(f"benchmarks.gpu.{given.group}").check(report)


if __name__ == "__main__":
    main()
