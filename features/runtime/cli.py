"""The command line that all stages share: options, logging, errors into exit codes.

Exit codes: 0 done, 1 bug (with its traceback), 2 bad input or a refusal of the system (one
message), 75 stopped and resumable, 130 or 143 ended by Ctrl-C or SIGTERM with nothing to resume.
"""

import functools
import gc
import inspect
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from features.core.files import count_written
from features.errors import PipelineError, Stopped
from features.runtime.failures import explain
from features.runtime.progress import close_bar
from features.runtime.terminal import VARIABLE, choose_form, get_form, log, speak

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Set one value of params.yaml for this run."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors and warnings.")]
Json = Annotated[bool, typer.Option("--json", help="Say all as JSON, one object a line.")]

STOPPED = 75
"""Exit code: stopped, and the same command goes on."""
LAUNCHED = "FORGERYSTACK_LAUNCHED"
"""Set in processes that another command of this project has started, which speaks for them: its
process number."""
COLLECT_AFTER = 20_000
"""New objects after which Python looks for rubbish; by default 700."""
_LAUNCHER = os.environ.get(LAUNCHED)  # by now; this process may set it for others
_START = time.perf_counter()  # this module comes before torch, whose import takes seconds
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]  # of whichever click typer brings


def run_stage(
    name: str,
    command: Callable[..., None],
    says_document: bool = False,
    program: str | None = None,
) -> None:
    """Runs `command` with the options of its signature, and ends the process.

    `says_document`: with --json it prints one JSON document, and nothing is said beside. `program`:
    how it was called, if not as `python -m <name>`.
    """
    program = program or f"python -m {name}"
    # torch makes a million objects that stay: they were looked through again and again meanwhile.
    gc.set_threshold(COLLECT_AFTER)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_guard(name, program, command, says_document))
    if "--json" not in sys.argv and os.environ.get(VARIABLE) != "json":
        app(prog_name=program)
    try:
        raise SystemExit(app(prog_name=program, standalone_mode=False))
    except _UsageError as error:
        with speak(name, "json"):
            _say("error", f"{name}: {error.format_message()}", code=2)  # type: ignore[attr-defined]
        raise SystemExit(2) from None


def measure_age() -> float:
    """Seconds since this program was started, about."""
    return time.perf_counter() - _START


def find_starter() -> int | None:
    """Number of the process that has started this one and waits for it, if there is one: another
    command of this project, DVC or `torchrun`."""
    if _LAUNCHER:
        return int(_LAUNCHER)
    return os.getppid() if {"DVC_STAGE", "TORCHELASTIC_RUN_ID"} & set(os.environ) else None


def _guard(
    name: str, program: str, command: Callable[..., None], says_document: bool
) -> Callable[..., None]:
    """`command` with --quiet and --json, and with its errors as messages and exit codes."""

    @functools.wraps(command)
    def guarded(quiet: bool, as_json: bool, **options: Any) -> None:
        with speak(name, "json" if as_json else "text"), _end(name, program):
            form = choose_form(quiet, as_json)
        with speak(name, form, says_document), _end(name, program):
            command(**options)
            seconds = time.perf_counter() - _START
            _say("done", f"{name}: done in {seconds:.1f} s", seconds=round(seconds, 1))

    own = inspect.signature(command, eval_str=True).parameters.values()
    added = [
        inspect.Parameter(word, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for word, kind in (("quiet", Quiet), ("as_json", Json))
    ]
    guarded.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return guarded


class _Terminated(BaseException):
    """SIGTERM has come. No `Exception`: nothing but the command line takes it."""


@contextmanager
def _end(name: str, program: str) -> Iterator[None]:
    """Errors and signals into messages and exit codes."""
    try:
        with _note_sigterm():
            yield
    except PipelineError as error:
        _say("error", f"{name}: {error}", code=2)
        raise SystemExit(2) from None
    except Stopped as stop:
        _say("stopped", f"{name}: {stop}", code=STOPPED)
        raise SystemExit(STOPPED) from None
    except (KeyboardInterrupt, _Terminated) as stop:
        number = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM
        code = 128 + number
        _say("stopped", f"{name}: ended by {number.name}. {_describe_end(program)}", code=code)
        raise SystemExit(code) from None
    except Exception as error:
        told = explain(error)
        if told is None:
            _say_bug(name, error)
            raise
        _say("error", f"{name}: {told}", code=2)
        raise SystemExit(2) from None
    finally:
        close_bar()


@contextmanager
def _note_sigterm() -> Iterator[None]:
    """SIGTERM raises `_Terminated`, unless whoever started this program had it ignored."""
    before = signal.getsignal(signal.SIGTERM)
    if before is None or before == signal.SIG_IGN:  # None: set by C code, nothing could restore it
        yield
        return
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
    raise _Terminated


def _describe_end(program: str) -> str:
    """What a run that was ended leaves, and how to run it again."""
    count = count_written()
    left = f"{count} files were written before" if count else "No result was written"
    by_hand = [*program.split(), *sys.argv[1:]]
    command = ["dvc", "repro"] if "DVC_STAGE" in os.environ else by_hand
    return f"{left}. Run it again: {shlex.join(command)}"


def _say(event: str, message: str, **facts: object) -> None:
    """The last thing that is said; of several processes the one that started them has the word."""
    close_bar()
    level = logging.INFO
    if event == "error":
        level = logging.ERROR
    elif event == "stopped" and os.environ.get("RANK", "0") == "0":
        level = logging.WARNING
    if _LAUNCHER and event != "error":
        event = "log"
    log.log(level, "%s", message, extra={"event": event, "facts": facts})


def _say_bug(name: str, error: Exception) -> None:
    """For programs; a person reads Python's traceback."""
    if get_form() == "json":
        _say("error", f"{name}: {type(error).__name__}: {error}", code=1)
