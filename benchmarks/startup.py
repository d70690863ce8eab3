"""How long a command takes before it does anything: CPU seconds, user and system together.

For each command `--help`, an unknown option and a setting that is none, beside what Python alone,
`import torch, timm` (stage 1) and `import lightgbm, pandas` (stage 2) take; then the wall seconds
of a `dvc repro` with nothing to do. Programs run in turn, since machines are noisy.

    python -m benchmarks.startup [--quick] [--project FOLDER]    # FOLDER: after `dvc repro`
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[1]
FLOORS = {
    "Python alone": "pass",
    "torch and timm": "import torch, timm",
    "LightGBM and pandas": "import lightgbm, pandas",
}
ENDS = {"--help": ["--help"], "bad option": ["--nope"], "bad setting": ["--set", "nope"]}


def list_commands() -> list[str]:
    """Modules that `python -m` runs, by name."""
    commands = []
    for package in ("features", "serving", "stage1_cnn", "stage2_ensemble"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if 'run_stage("' in path.read_text(encoding="utf-8") and "runtime" not in path.parts:
                parts = path.relative_to(ROOT).with_suffix("").parts
                commands.append(".".join(part for part in parts if part != "__main__"))
    return commands


def measure_cpu(arguments: list[str], folder: Path) -> float:
    """CPU seconds of one program, its children's included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    program = [sys.executable, *arguments]
    subprocess.run(program, cwd=folder, env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_repro(project: Path) -> float:
    """Wall seconds of a `dvc repro` in a project whose results are up to date."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "-q"], cwd=project, capture_output=True, check=True
    )
    return time.perf_counter() - start


def main(
    quick: Annotated[bool, typer.Option(help="Two turns instead of five.")] = False,
    project: Annotated[
        Path | None,
        typer.Option(help="A project after `dvc repro`, for the one with nothing to do."),
    ] = None,
) -> None:
    """Print a line for each command."""
    turns = 2 if quick else 5
    programs = {(name, ""): ["-c", code] for name, code in FLOORS.items()}
    for command in list_commands():
        for end, options in ENDS.items():
            programs[command, end] = ["-m", command, *options]
    taken: dict[tuple[str, str], list[float]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:  # without anything that a command could work on
        for _ in range(turns):
            for name, arguments in programs.items():
                taken[name].append(measure_cpu(arguments, Path(folder)))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for floor in FLOORS:
        print(f"{floor:28} {medians[floor, '']:6.2f} s CPU")
    print(f"{'':28} {'  '.join(f'{end:>11}' for end in ENDS)}   s CPU, medians of {turns}")
    for command in list_commands():
        print(f"{command:28} {'  '.join(f'{medians[command, end]:11.2f}' for end in ENDS)}")
    if project:
        repros = [measure_repro(project) for _ in range(turns)]
        print(f"dvc repro, nothing to do     {statistics.median(repros):6.2f} s")


if __name__ == "__main__":
    typer.run(main)
