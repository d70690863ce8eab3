"""What each stage costs as the pictures become more: CPU seconds and peak memory at 1, 2, 4 and 8
times as many.

The tiny task (`presets/tiny.yaml`), its stages one by one as `dvc.yaml` names them, in a folder of
their own. Seconds are those of all processes of a stage, so they say little of a machine's other
work; memory is the most that one process of it had. `linear` is what a picture of the last doubling
takes beside one of those added before: 1 where time grows with the rows, over 2 where it grows with
their square; a dash where too little is added to tell. `MB` is what the last doubling adds.
`forensics` takes processes from 7,282 squares of 48 pixels on, and `prepare` from 10,000 files on,
whose start counts once; from 500 fold rows of the rarer class on `stack` fits `lightgbm_pca`, too.

Even the CPU seconds of one stage differ by a third between two runs, where the machine is one of
several on the same host. With `--repeats` all of it runs so often, in turns, and of each stage the
quickest run counts, which was disturbed least.

    python -m benchmarks.growth [--quick] [--pictures 1000] [--repeats 3]
"""

import itertools
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
TIMES = (1, 2, 4, 8)
SIDE = 48
LEAST_SECONDS = 1.0
"""CPU seconds that pictures must have added before the last doubling, so that a rate says anything:
runs of the same differ by half a second on a busy machine."""


class Cost(NamedTuple):
    """Of one run of a stage."""

    cpu: float
    wall: float
    peak: float
    """MB."""


def list_commands(params: dict[str, Any]) -> dict[str, str]:
    """The commands of all stages in the order of `dvc.yaml`, by name."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    found = {}
    for name, stage in stages.items():
        names = list(stage.get("matrix", {}))
        values = {"backbone": list(params["backbones"]), "fold": params["folds"]["active"]}
        for chosen in itertools.product(*(values[key] for key in names)):
            items = dict(zip(names, chosen, strict=True))
            command = stage["cmd"]
            for key, value in items.items():
                command = command.replace(f"${{item.{key}}}", str(value))
            found["-".join(map(str, [name, *chosen]))] = command
    return found


def make_project(folder: Path, pictures: int) -> dict[str, Any]:
    """A folder with settings alone; half as many pictures for each of val and test."""
    params: dict[str, Any] = yaml.safe_load((ROOT / "presets" / "tiny.yaml").read_text())
    params["demo"] = {
        "train": pictures, "val": pictures // 2, "test": pictures // 2, "size": SIDE, "seed": 0
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return params


def run_stage(command: str, folder: Path) -> Cost:
    """Stops the benchmark where the stage fails, with what it said."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, *shlex.split(command)[1:]]
    start = time.perf_counter()
    with open(folder / "said.txt", "wb") as said:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}:\n{(folder / 'said.txt').read_text()}")
    wall = time.perf_counter() - start
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)


def run_stages(pictures: int) -> Iterator[tuple[str, Cost]]:
    """All of them, by name, in a folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="growth-", ignore_cleanup_errors=True) as folder:
        project = Path(folder, str(pictures))
        for name, command in list_commands(make_project(project, pictures)).items():
            yield name, run_stage(command, project)


def describe_growth(costs: list[Cost], pictures: list[int]) -> str:
    """What a picture of the last doubling takes beside one of those added before."""
    if len(costs) < 3:
        return "–"
    before, last = costs[-2].cpu - costs[0].cpu, costs[-1].cpu - costs[-2].cpu
    ratio = last / (pictures[-1] - pictures[-2]) * (pictures[-2] - pictures[0])
    return f"{ratio / before:.2f}" if before > LEAST_SECONDS else "–"


def print_costs(costs: dict[str, list[Cost]], pictures: list[int]) -> None:
    """A row for each stage."""
    table = Table(title="CPU seconds, and MB at most, by pictures to learn from")
    table.add_column("stage")
    for count in pictures:
        table.add_column(f"{count:,}", justify="right")
    table.add_column("linear", justify="right")
    table.add_column("MB", justify="right")
    for name, found in costs.items():
        cells = [f"{cost.cpu:.1f} s {cost.peak:,.0f}" for cost in found]
        added = found[-1].peak - found[-2].peak if len(found) > 1 else 0.0
        table.add_row(name, *cells, describe_growth(found, pictures), f"{added:+.0f}")
    Console(width=120).print(table)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few pictures, twice.")] = False,
    pictures: Annotated[int, typer.Option(min=120, help="To learn from, at first.")] = 1000,
    repeats: Annotated[int, typer.Option(min=1, help="The quickest run counts.")] = 1,
) -> None:
    """Print what each stage costs as the pictures become more."""
    counts = [120, 240] if quick else [pictures * times for times in TIMES]
    runs: dict[tuple[str, int], list[Cost]] = {}
    for _, count in itertools.product(range(repeats), counts):
        for name, cost in run_stages(count):
            runs.setdefault((name, count), []).append(cost)
            said = f"{name} {cost.cpu:.1f} s, {cost.peak:,.0f} MB"
            print(f"{count:,} pictures: {said}", flush=True)
    costs: dict[str, list[Cost]] = {}
    for (name, _), found in runs.items():
        costs.setdefault(name, []).append(min(found))
    print_costs(costs, counts)


if __name__ == "__main__":
    typer.run(main)
