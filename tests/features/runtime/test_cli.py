"""The command line: which ending gives which exit code and what a user reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from features.runtime import cli

PROJECT = Path(cli.__file__).parents[2]
SCRIPT = """
import typer
from features.runtime.cli import Overrides, run_stage
from features.errors import ConfigError, MissingArtifactError

ENDINGS = {
    "bad input": ConfigError("params.yaml", ["seed: missing", "data: missing"]),
    "missing": MissingArtifactError("a.parquet", "prepare"),
    "bug": ZeroDivisionError("so it is a bug"),
    "resumable": SystemExit(75),
    "typer": typer.Exit(75),
    "Ctrl-C": KeyboardInterrupt(),
    "disk full": OSError(28, "No space left on device", "/data/x.bin"),
}

def main(fold: int = 0, overrides: Overrides = None) -> None:
    "Do this."
    print("got", fold, overrides)
    for ending in overrides or []:
        if ending in ENDINGS:
            raise ENDINGS[ending]

run_stage("some.stage", main)
"""


def call(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *options],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_that_ends_well_tells_its_seconds() -> None:
    done = call("--fold", "3", "--set", "a.b=1", "--set", "c=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "got 3 ['a.b=1', 'c=2']" in done.stdout
    assert "some.stage: done in " in done.stdout


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (
            "bad input",
            "some.stage: params.yaml: 2 problems\n  seed: missing\n  data: missing\n",
        ),
        (
            "missing",
            "some.stage: a.parquet is missing. Stage `prepare` makes it: dvc repro prepare\n",
        ),
    ],
)
def test_bad_input_gives_one_message_and_code_2(ending: str, message: str) -> None:
    done = call("--set", ending)
    assert (done.returncode, done.stderr) == (2, message)
    assert "done in" not in done.stdout


def test_a_full_disk_is_told_with_a_way_out() -> None:
    done = call("--set", "disk full")
    assert done.returncode == 2
    assert done.stderr.startswith("some.stage: No space left on device (/data/x.bin). ")
    assert "images.store none" in done.stderr


def test_a_bug_keeps_its_traceback_and_gives_code_1() -> None:
    done = call("--set", "bug")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ZeroDivisionError: so it is a bug\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--nope"], "--nope"), (["--fold", "x"], "--fold"), (["more"], "more"), (["--set"], "--set")],
)
def test_unknown_options_give_code_2_and_no_traceback(options: list[str], message: str) -> None:
    done = call(*options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "got" not in done.stdout


@pytest.mark.parametrize(("ending", "code"), [("resumable", 75), ("typer", 75), ("Ctrl-C", 130)])
def test_a_run_that_was_stopped_is_not_taken_for_done(ending: str, code: int) -> None:
    done = call("--set", ending)
    assert done.returncode == code
    assert "done in" not in done.stdout
    assert "Traceback" not in done.stderr


def test_help_is_no_run() -> None:
    done = call("--help")
    assert done.returncode == 0
    assert "Do this." in done.stdout
    assert "A.B=VALUE" in done.stdout
    assert "done in" not in done.stdout
