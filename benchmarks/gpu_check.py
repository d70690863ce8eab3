"""What runs on a GPU: whether it is right there, and how fast. One line a check.

Run: python -m benchmarks.gpu_check [--quick] [--group NAME …] [--device cuda:0] [--out FOLDER]

    check GROUP.NAME pass|fail|skip VALUE
    value GROUP.NAME NUMBER UNIT
    profile GROUP.MODEL NAME SHARE %

numbers     networks in three precisions, augmentation, perturbations and normalising: as on a CPU
training    the losses of a CPU; resuming, averages, float16 and its scaler, steps left out; what
            makes the host wait within a step; memory that grows
stages      dump, perturb and explain from files to files: as on a CPU
processes   NCCL with one process; two processes on this card (by gloo, and by NCCL from 2.30 on)
memory      too little of it says what to do
compile     torch.compile learns the same and keeps the names of weights
speed       images/s of training against a batch that is ready on the device (at least 0.95 of it),
            and of a dump against bare forward passes (0.95); out of files; peak memory; the three
            operators that take the most of a step

Each group is a process of its own: an error on the device ends that one alone. Those that say what
is right run side by side, as far as there are cores, then `speed` alone. All take at most 8
minutes, with `--quick` 4. It ends with 1 if a check failed. Without CUDA it says so and ends with
0; `--device cpu` tries the code out with small networks. `--out` keeps what was said, errors, and
what each network spends its time on, kernel by kernel.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.gpu.groups import (
    ALONE,
    GROUPS,
    SIDE_BY_SIDE,
    count_together,
    plan_groups,
    run_groups,
)
from benchmarks.gpu.report import list_states
from stage1_cnn.networks.devices import describe_device

LIMIT, QUICK_LIMIT = 468.0, 230.0
"""Seconds that all groups have."""


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of each, at most 4 minutes")
    parser.add_argument("--group", action="extend", nargs="+", choices=GROUPS, help="not all")
    parser.add_argument("--device", default="cuda", help="such as cuda:1, or cpu")
    parser.add_argument("--out", type=Path, help="folder for gpu_check.json, errors and tables")
    return parser.parse_args()


def run(given: argparse.Namespace, out: Path, end: float) -> Iterator[str]:
    """The lines of the groups as each of them ends: those side by side first, done half-way."""
    names = given.group or GROUPS
    beside, alone = ([name for name in kind if name in names] for kind in (SIDE_BY_SIDE, ALONE))
    half = end - (end - time.time()) / 2 if alone else end
    for chosen, until in ((beside, half), (alone, end)):
        groups = plan_groups(chosen, given.device, given.quick, given.out, until)
        for lines in run_groups(groups, out, count_together(chosen)):
            yield from lines


def summarise(lines: Sequence[str], seconds: float) -> tuple[str, int]:
    """What is said at the end, and the exit status: 1 if a check failed or there was none."""
    states = list(list_states(lines).values())
    failed, skipped = states.count("fail"), states.count("skip")
    told = f"{len(states)} checks, {failed} failed, {skipped} skipped, {seconds:.0f} s"
    return told, int(failed > 0 or not states)


def main() -> None:
    """Run all groups, or those that are named."""
    given = read_arguments()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("check device.cuda skip there is no CUDA here")
        return
    # Else what has been started would go on alone.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    start = time.time()
    device = describe_device(torch.device(given.device))
    print(f"device {device}, torch {torch.__version__}", flush=True)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        out = given.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        for line in run(given, out, start + (QUICK_LIMIT if given.quick else LIMIT)):
            print(line, flush=True)
            lines.append(line)
        facts = {"device": device, "torch": torch.__version__, "lines": lines}
        (out / "gpu_check.json").write_text(json.dumps(facts, indent=1))
    told, status = summarise(lines, time.time() - start)
    print(told)
    sys.exit(status)


if __name__ == "__main__":
    main()
