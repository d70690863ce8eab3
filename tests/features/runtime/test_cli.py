"""The command line: which ending gives which exit code and what a user reads."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from features.runtime import cli

PROJECT = Path(cli.__file__).parents[2]
SCRIPT = """
import os
import signal
import sqlite3
import time
from pathlib import Path
import typer
from features.core.files import write_text
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
    "memory": MemoryError(),
    "threads": RuntimeError("can't start new thread"),
    "SQLite": sqlite3.OperationalError("database or disk is full"),
    "pyarrow": OSError("[errno 28] Error writing bytes to file"),
    "safetensors": ValueError("Error while serializing: I/O error: (os error 27)"),
    "no file": FileNotFoundError(2, "No such file or directory", "/data/x.bin"),
}
ENDINGS |= {f"errno {n}": OSError(n, os.strerror(n), "/data/x.bin") for n in range(1, 133)}

def main(fold: int = 0, overrides: Overrides = None) -> None:
    "Do this."
    print("got", fold, overrides)
    for ending in overrides or []:
        if ending.startswith("write "):
            write_text(Path(ending[6:]), "whole")
        if ending == "wait":
            print("waits", flush=True)
            time.sleep(60)
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


@pytest.mark.fault("a full disk")
def test_a_full_disk_is_told_with_a_way_out() -> None:
    done = call("--set", "disk full")
    assert done.returncode == 2
    assert done.stderr.startswith("some.stage: No space left on device (/data/x.bin). ")
    assert "images.store none" in done.stderr


@pytest.mark.fault(
    "no permission, read-only, quota, too many files or processes, too little memory, however"
    " a library says it",
    "error with the path and what to do",
    "Disks, signals, kills",
)
@pytest.mark.parametrize(
    "number",
    [
        errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EMFILE,
        errno.ENOMEM, errno.EAGAIN, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.ESTALE,
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_one_sentence_with_the_path_and_a_way_out(number: int) -> None:
    done = call("--set", f"errno {number}")
    assert done.returncode == 2
    start = f"some.stage: {os.strerror(number)} (/data/x.bin). "
    assert done.stderr.startswith(start)
    assert len(done.stderr) > len(start) + 20
    assert "Traceback" not in done.stderr


@pytest.mark.fault(
    "no permission, read-only, quota, too many files or processes, too little memory, however"
    " a library says it",
)
@pytest.mark.parametrize(
    ("ending", "start"),
    [
        ("memory", "The machine has too little memory. "),
        ("threads", "The system starts no more threads. "),
        ("SQLite", "No space left on device. "),
        ("pyarrow", "No space left on device. "),
        ("safetensors", "File too large. "),
    ],
)
def test_libraries_pass_on_what_the_system_refuses_in_words_of_their_own(
    ending: str, start: str
) -> None:
    done = call("--set", ending)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"some.stage: {start}")


def test_a_file_that_is_not_there_is_a_bug_unless_it_was_looked_for() -> None:
    done = call("--set", "no file")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")


@pytest.mark.fault(
    "SIGTERM or Ctrl-C in a stage that begins anew",
    "it says what is left and how to run it again; exit code 143 or 130",
    "Disks, signals, kills",
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_told_with_what_is_left_and_how_to_run_again(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    for options, left in (
        ([], "No result was written"),
        (["--set", f"write {tmp_path / 'a'}", "--set", f"write {tmp_path / 'b'}"], "2 files were"),
    ):
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *options, "--set", "wait"],
            env={**os.environ, "PYTHONPATH": str(PROJECT), "NO_COLOR": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # Tests that run in the background of a shell are deaf to Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:  # fmt: skip
            assert process.stdout is not None
            while "waits" not in process.stdout.readline():
                pass
            process.send_signal(number)
            out, error = process.communicate()
        assert process.returncode == code
        assert f"some.stage: ended by {number.name}. {left}" in out
        assert "Run it again: python -m some.stage" in out
        assert "Traceback" not in out + error


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


@pytest.mark.parametrize("before", [None, signal.SIG_IGN, signal.SIG_DFL])
def test_what_happens_at_sigterm_afterwards_is_what_happened_before(monkeypatch, before) -> None:
    """`None` stands for a handler that Python has not set, and cannot set again."""
    handlers = {signal.SIGTERM: before}
    monkeypatch.setattr(signal, "getsignal", handlers.__getitem__)

    def set_handler(number: signal.Signals, handler: object) -> None:
        assert handler is not None
        handlers[number] = handler

    monkeypatch.setattr(signal, "signal", set_handler)
    with cli._note_sigterm():
        assert (handlers[signal.SIGTERM] == before) == (before != signal.SIG_DFL)
    assert handlers[signal.SIGTERM] == before
