"""Commands of the project in forked children: what they do when something happens to them.

A child begins where torch, LightGBM and the rest are loaded already, so that one life costs a tenth
of a second instead of three. Import this module before anything starts threads.
"""

import atexit
import fcntl
import hashlib
import importlib
import os
import runpy
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import captum.attr  # noqa: F401
import lightgbm  # noqa: F401
import matplotlib.pyplot as plt  # noqa: F401
import onnxruntime  # noqa: F401
import optuna  # noqa: F401
import pyarrow.parquet  # noqa: F401
import safetensors.torch  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.linear_model  # noqa: F401
import timm  # noqa: F401
import torch  # noqa: F401
import yaml

MEMBER = ("--backbone", "resnet")
STAGES: Mapping[str, tuple[str, ...]] = {
    "demo": ("features.demo",),
    "inputs": ("features.inputs",),
    "prepare": ("features.prepare",),
    "null_model": ("features.null_model",),
    "forensics": ("features.forensics",),
    "train": ("stage1_cnn.train", *MEMBER),
    "dump": ("stage1_cnn.dump", *MEMBER),
    "perturb": ("stage1_cnn.perturb",),
    "tiers": ("stage1_cnn.tiers",),
    "stack": ("stage2_ensemble.stack",),
    "evaluate": ("stage2_ensemble.evaluate",),
    "gallery": ("stage2_ensemble.gallery",),
    "explain": ("stage1_cnn.explain",),
    "label": ("stage2_ensemble.label",),
    "report": ("stage2_ensemble.report",),
}
"""By the name of a stage its module and options."""
for _module, *_ in STAGES.values():
    with suppress(ModuleNotFoundError):  # a stage of one file
        importlib.import_module(f"{_module}.run")
PIPELINE = yaml.safe_load((Path(__file__).parent.parent / "dvc.yaml").read_text(encoding="utf-8"))
SECONDS = 240
"""After which a child counts as hung."""
MOST_SAID = 1 << 20
"""Bytes that a child may say before it waits for somebody to read them."""


@dataclass(frozen=True)
class Ended:
    """How a child has ended."""

    code: int
    """Below zero: the signal that ended it."""
    said: str
    seconds: float

    def check_refusal(self, *words: str) -> None:
        """One message and exit code 2, without a traceback; `words` stand in it."""
        assert self.code == 2, f"{self.code}\n{self.said}"
        assert "Traceback" not in self.said, self.said
        for word in words:
            assert word in self.said, f"{word!r} is not in:\n{self.said}"


def run_forked(
    folder: Path,
    command: Sequence[str],
    prepare: Callable[[], object] | None = None,
    kill_after: float | None = None,
) -> Ended:
    """Runs a command in `folder`; `prepare` is called in the child before it.

    `kill_after`: seconds until it is killed. All that the child has started ends with it.
    """
    start = time.monotonic()
    reading, writing = os.pipe()  # no file: those may be limited
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, MOST_SAID)
    with open(reading, "rb") as output:
        child = os.fork()
        if not child:
            _live(folder, command, prepare, writing)
        os.close(writing)
        ended = os.pidfd_open(child)
        limit = SECONDS if kill_after is None else kill_after
        try:
            select.select([ended], [], [], limit)
        finally:
            os.close(ended)
            with suppress(ProcessLookupError):  # it had no time to become a group
                os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        seconds = time.monotonic() - start
        assert code != -signal.SIGKILL or seconds < SECONDS, f"{command} hangs"
        return Ended(code, output.read().decode(errors="replace"), seconds)


def _live(
    folder: Path, command: Sequence[str], prepare: Callable[[], object] | None, output: int
) -> None:
    code = 1
    try:
        os.setsid()
        atexit._clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        # Python 3.11 takes bytecode that a limit has cut short for whole, in every later child.
        sys.dont_write_bytecode = True
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        for name, number in (("stdout", 1), ("stderr", 2)):
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
        os.chdir(folder)
        module, *options = command
        sys.argv = [module, *options]
        if prepare is not None:
            prepare()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@dataclass(frozen=True)
class Spoiled:
    """A copy of what commands of a finished project read and write, to be damaged."""

    finished: Path
    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.restore()

    def restore(self) -> None:
        """All is as it was in the finished project."""
        for name in ("artifacts", "data", ".store", ".seconds", ".resume"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            if (self.finished / name).is_dir():
                shutil.copytree(self.finished / name, self.folder / name)
        for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
            shutil.copy(self.finished / name, self.folder)

    def restore_file(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)
        shutil.copy2(self.finished / name, self.folder / name)

    def run(
        self,
        stage: str,
        prepare: Callable[[], object] | None = None,
        kill_after: float | None = None,
    ) -> Ended:
        """Runs a stage of `STAGES` in a forked child."""
        return run_forked(self.folder, STAGES[stage], prepare, kill_after)

    def digest(self) -> dict[str, str]:
        """sha256 of each result by its name, temporary files too."""
        places = (self.folder / name for name in ("artifacts", "data"))
        files = sorted(path for place in places for path in place.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): _digest(path) for path in files}

    def list_temporary(self) -> list[str]:
        """Files and folders that a run should have swept away."""
        return sorted(str(path) for path in self.folder.rglob(".*tmp*"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def list_outputs() -> dict[str, str]:
    """By file or folder of the tiny task the stage that writes it, as `dvc repro` takes it."""
    found = {}
    for name, stage in PIPELINE["stages"].items():
        for backbone in ("resnet", "efficientnet") if "matrix" in stage else ("",):
            for kind in ("outs", "metrics", "plots"):
                for entry in stage.get(kind, []):
                    path = entry if isinstance(entry, str) else next(iter(entry))
                    path = path.replace("${item.backbone}", backbone).replace("${item.fold}", "0")
                    found[path] = f"{name}@{backbone}-0" if backbone else name
    return found


def list_inputs(stage: str) -> list[str]:
    """Files and folders below `artifacts` that a stage of `STAGES` depends on."""
    values = {"${item.backbone}": "resnet", "${item.fold}": "0"}
    found = []
    for path in PIPELINE["stages"][stage]["deps"]:
        for mark, value in values.items():
            path = path.replace(mark, value)
        if path.startswith("artifacts/"):
            found.append(path)
    return found
