"""In which form a program speaks: on a terminal, in a file, for programs, and when quiet."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from features.runtime import cli
from features.runtime.terminal import get_form, log, speak

PROJECT = Path(cli.__file__).parents[2]
AGAIN = "Run it again: python -m some.stage"
SCRIPT = """
import logging, time
from features.runtime import progress
from features.runtime.cli import run_stage
from features.errors import ConfigError, Stopped
from features.runtime.progress import track
from features.runtime.terminal import build_console

ENDINGS = {
    "bad input": ConfigError("params.yaml", ["seed: missing", "data: missing"]),
    "bug": ZeroDivisionError("so it is"),
    "stopped": Stopped("after step 3"),
    "Ctrl-C": KeyboardInterrupt(),
}
progress.FIRST = progress.EVERY = progress.JSON_EVERY = 0.0
log = logging.getLogger("forgerystack")

def main(end: str = "") -> None:
    print("printed by a library")
    log.warning("a warning")
    for number in track(range(4), "read images", 4, unit="images"):
        time.sleep(0.06)
        log.info("line %d", number)
        if number == 2 and end:
            raise ENDINGS[end]
    build_console().print("a table\\nof two lines")

run_stage("some.stage", main)
"""
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def prepare(**environment: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    return {**kept, "PYTHONPATH": str(PROJECT), "TERM": "xterm", "COLUMNS": "80", **environment}


def call(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, *options]
    return subprocess.run(
        command, env=prepare(**environment), capture_output=True, text=True, check=False
    )


def call_on_terminal(*options: str, piped: bool = False, **environment: str) -> tuple[str, str]:
    """What a terminal gets, and what a pipe does where stdout is one (`| tee`)."""
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *options], env=prepare(**environment),
        stdin=slave, stdout=subprocess.PIPE if piped else slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    out = running.communicate()[0] or b""
    return shown.decode(), out.decode()


def test_without_a_terminal_there_are_lines_and_no_control_characters():
    done = call()
    told = done.stdout.splitlines()
    assert [line for line in told if line.startswith("line")] == [f"line {i}" for i in range(4)]
    assert re.fullmatch(r"read images: 1 of 4 images, \d+/s, 0 s left", told[3])
    assert told[-3:-1] == ["a table", "of two lines"]
    assert not re.search(r"[^\n -~]", done.stdout + done.stderr)
    assert done.stderr == ""


def test_json_is_one_object_a_line_and_nothing_else():
    done = call("--json")
    assert done.returncode == 0
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["stage"] for event in told} == {"some.stage"}
    assert told[0] == {"stage": "some.stage", "event": "warning", "message": "a warning"}
    assert [e["message"] for e in told if e["event"] == "log"] == [
        *(f"line {i}" for i in range(4)), "a table", "of two lines",
    ]  # fmt: skip
    steps = [e for e in told if e["event"] == "progress"]
    assert [(e["done"], e["total"], e["unit"]) for e in steps] == [
        (i, 4, "images") for i in (1, 2, 3)
    ]
    assert all(0 < e["rate"] < 20 and e["seconds_left"] == 0 for e in steps)
    assert told[-1]["event"] == "done"
    assert told[-1]["seconds"] > 0.2
    assert done.stderr == "printed by a library\n"


@pytest.mark.parametrize(
    ("end", "code", "event", "message"),
    [
        ("bad input", 2, "error", "params.yaml: 2 problems\n  seed: missing\n  data: missing"),
        ("bug", 1, "error", "ZeroDivisionError: so it is"),
        ("stopped", 75, "stopped", "stopped after step 3. The same command goes on from there."),
        ("Ctrl-C", 130, "stopped", f"ended by SIGINT. No result was written. {AGAIN} --end Ctrl-C"),
    ],
)
def test_json_tells_how_it_ended_with_the_same_exit_code(end, code, event, message):
    done = call("--end", end, FORGERYSTACK_LOG="json")
    assert done.returncode == code
    last = json.loads(done.stdout.splitlines()[-1])
    assert last == {"stage": "some.stage", "event": event, "message": message, "code": code}
    assert ("Traceback" in done.stderr) == (end == "bug")


def test_work_goes_on_when_nobody_reads_the_json_any_more():
    command = [sys.executable, "-c", SCRIPT, "--json", "--end", "bad input"]
    running = subprocess.Popen(
        command, env=prepare(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    said = running.stderr.read()
    running.wait()
    running.stderr.close()
    assert "Traceback" not in said.partition("Exception ignored")[0]


@pytest.mark.parametrize("options", [["--json", "--nope"], ["--json", "--quiet"], ["--json", "x"]])
def test_json_tells_of_wrong_options_too(options):
    done = call(*options)
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["event"] == "error"


def test_an_unknown_form_is_refused():
    done = call(FORGERYSTACK_LOG="jsn")
    assert (done.returncode, done.stdout) == (2, "")
    assert "FORGERYSTACK_LOG: 1 problem\n  'jsn' is none of text, quiet, json" in done.stderr


@pytest.mark.parametrize("how", [{"options": ["--quiet"]}, {"FORGERYSTACK_LOG": "quiet"}])
def test_quiet_says_warnings_and_errors_alone(how):
    options = how.pop("options", [])
    done = call(*options, **how)
    assert (done.returncode, done.stdout) == (0, "printed by a library\n")
    assert done.stderr == "a warning\n"
    done = call(*options, "--end", "bad input", **how)
    assert done.returncode == 2
    assert done.stderr.startswith("a warning\nsome.stage: params.yaml: 2 problems\n")


def test_an_option_goes_before_the_environment():
    assert call("--quiet", FORGERYSTACK_LOG="json").stdout == "printed by a library\n"
    assert json.loads(call("--json", FORGERYSTACK_LOG="quiet").stdout.splitlines()[0])


def test_on_a_terminal_a_bar_stands_below_whole_lines():
    shown, _ = call_on_terminal()
    assert "read images" in shown
    assert re.search(r"75 %.*images/s, 0 s left", ESCAPE.sub("", shown))
    lines = [line.split("\r")[-1] for line in ESCAPE.sub("", shown).split("\r\n")]
    assert [line for line in lines if line.startswith("line")] == [f"line {i}" for i in range(4)]
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back


def test_an_error_takes_the_bar_away():
    shown, _ = call_on_terminal("--end", "bad input")
    assert shown.rindex("\x1b[?25h") < shown.index("some.stage: params.yaml: 2 problems\r\n")


@pytest.mark.parametrize(
    "environment", [{"TERM": "dumb"}, {"JPY_PARENT_PID": "7"}, {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}]
)
def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(environment):
    shown, _ = call_on_terminal(**environment)
    assert "\x1b" not in shown
    assert "read images: 1 of 4 images" in shown


def test_no_color_leaves_colours_out():
    shown, _ = call_on_terminal(NO_COLOR="1")
    assert "75 %" in shown
    coloured = re.compile(r"\x1b\[[0-9;]*[39][0-7]")
    assert coloured.search(call_on_terminal()[0])
    assert not coloured.search(shown)


def test_beside_a_pipe_the_terminal_is_left_alone():
    """As in `dvc repro | tee log`: lines go through the pipe, a bar would overwrite them."""
    shown, out = call_on_terminal(piped=True)
    assert shown == ""
    assert "read images: 1 of 4 images" in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_knows_few_signs_shows_others_in_their_place(encoding):
    code = "from features.runtime.terminal import log, speak\n"
    code += "with speak('it', 'text'):\n"
    code += "    log.info('0.1 – 0.2 …'); log.error('é: 3 × 4')\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONIOENCODING": encoding},
        capture_output=True, check=True,
    )  # fmt: skip
    shown = {
        "ascii": ("0.1 - 0.2 ...\n", "\\xe9: 3 x 4\n"),
        "latin-1": ("0.1 - 0.2 ...\n", "é: 3 × 4\n"),
        "utf-8": ("0.1 – 0.2 …\n", "é: 3 × 4\n"),
    }
    assert (done.stdout.decode(encoding), done.stderr.decode(encoding)) == shown[encoding]


@pytest.mark.parametrize("form", ["text", "quiet", "json"])
def test_afterwards_nothing_is_said_in_the_form_of_before(form, capsys):
    """Programs that call a command in their own process keep their own logging."""
    heard = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(heard)
    before = (list(root.handlers), root.level, get_form())
    try:
        with speak("it", form):
            assert heard not in root.handlers
            assert get_form() == form
        assert (root.handlers, root.level, get_form()) == before
        capsys.readouterr()
        log.warning("a line of nobody")
        assert "a line of nobody" not in capsys.readouterr().out
    finally:
        root.removeHandler(heard)
