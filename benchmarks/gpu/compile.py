"""`torch.compile` learns the same, and keeps the names of weights."""

import shutil
import sysconfig
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.report import Report
from benchmarks.gpu.tasks import Task, advance
from benchmarks.gpu.training import measure_difference
from features.settings.learning import Network
from stage1_cnn.scoring.processes import Processes

STEPS = 8


def check(report: Report) -> None:
    """The losses of a few steps, compiled and not; and how long the first ones take."""
    missing = find_missing(report)
    if missing:
        report.skip("compile", f"needs {missing}")
        return
    with tempfile.TemporaryDirectory() as folder, report.part("compile"):
        task, here = Task(Path(folder)), Processes(report.device)
        plain, compiled = (
            task.start(here, network=Network(precision="float32", compile=wanted))
            for wanted in (False, True)
        )
        wanted = advance(*plain, 0, STEPS)
        start = time.perf_counter()
        found = advance(*compiled, 0, STEPS)
        report.value("seconds", time.perf_counter() - start, "s")
        error = measure_difference(found, wanted)
        names = set(compiled[0].state_dict()["network"]) == set(plain[0].state_dict()["network"])
        report.check("compile", error < 1e-2 and names, f"{error:.1e}, names kept {names}")


def find_missing(report: Report) -> str:
    """What kernels are built with and is not here; empty if all is."""
    if report.small:
        return "CUDA"
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        return "a C compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python.h"
    return ""
