"""What a program says, and in which form: text for people, JSON for programs, errors alone.

Everything is said through `logging`; the handler that `speak` sets gives it its form. A record may
carry more by `extra={"event": …, "facts": {…}}`.
"""

import codecs
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any, Literal, TextIO

from rich.console import Console

from features.errors import ConfigError

Form = Literal["text", "quiet", "json"]
FORMS: dict[str, Form] = {"text": "text", "quiet": "quiet", "json": "json"}
VARIABLE = "FORGERYSTACK_LOG"
"""Of the environment: the form of all stages of a pipeline; an option goes before it."""
NOTEBOOKS = ("JPY_PARENT_PID", "KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG")
"""Variables that programs started by a notebook inherit. It gives them a terminal, and shows the
control characters of a bar as they are."""
PLAIN = {"–": "-", "…": "...", "×": "x", "±": "+-", "→": "->", "·": "-", "²": "2", "µ": "u"}
"""For terminals that know ASCII alone."""
log = logging.getLogger("forgerystack")


def _spell_plainly(error: UnicodeError) -> tuple[str, int]:
    """What a terminal cannot show: signs by those of `PLAIN`, letters of names by their numbers."""
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end]
    plain = (PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in signs)
    return "".join(plain), error.end


codecs.register_error("plain", _spell_plainly)


@dataclass
class _Speech:
    """How this program speaks at present."""

    form: Form = "text"
    is_heard: bool = True


_speech = _Speech()


class _TextHandler(logging.StreamHandler[Any]):
    """Lines on what `sys.stdout` is at that time: a bar puts them above itself. Errors on stderr,
    and when quiet warnings too."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        aside = _speech.form == "quiet" or record.levelno >= logging.ERROR
        self.stream = sys.stderr if aside else sys.stdout
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Work ends well though nobody listens any more."""
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            _note_silence(self.stream)
        else:
            super().handleError(record)


class _JsonHandler(logging.Handler):
    """One object a line: `stage`, `event`, `message`, and the record's facts."""

    def __init__(self, stage: str, stream: TextIO) -> None:
        super().__init__()
        self._stage, self._stream = stage, stream

    def emit(self, record: logging.LogRecord) -> None:
        usual = "warning" if record.levelno >= logging.WARNING else "log"
        event = getattr(record, "event", usual)
        message = record.getMessage().removeprefix(f"{self._stage}: ")
        fields = {"stage": self._stage, "event": event, "message": message}
        write_document(fields | getattr(record, "facts", {}), self._stream)


class _Lines:
    """A file for a console: each line that it prints is logged."""

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                log.info("%s", line.rstrip())
        return len(text)

    def flush(self) -> None:
        """Nothing is held back but an unfinished line."""


def choose_form(quiet: bool, as_json: bool) -> Form:
    """By the options, else by the environment. Raises `ConfigError` for both, or an unknown one."""
    if quiet and as_json:
        raise ConfigError("command line", ["say either --quiet or --json"])
    if quiet or as_json:
        return "quiet" if quiet else "json"
    named = os.environ.get(VARIABLE) or "text"
    if named not in FORMS:
        raise ConfigError(VARIABLE, [f"{named!r} is none of {', '.join(FORMS)}"])
    return FORMS[named]


@contextmanager
def speak(stage: str, form: Form, says_document: bool = False) -> Iterator[None]:
    """Within, this program speaks so. As JSON, whatever else is printed goes to stderr.

    `says_document`: what it is asked for is one JSON document, so as JSON only errors stand beside.
    """
    as_json, out = form == "json", sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="plain")
    level = logging.WARNING if form == "quiet" or (as_json and says_document) else logging.INFO
    handler = _JsonHandler(stage, out) if as_json else _TextHandler()
    logging.getLogger("timm").setLevel(logging.WARNING)  # three lines for each network it loads
    with _use(handler, level), redirect_stdout(sys.stderr if as_json else out):
        before, _speech.form, _speech.is_heard = _speech.form, form, True
        try:
            yield
        finally:
            _speech.form = before


@contextmanager
def _use(handler: logging.Handler, level: int) -> Iterator[None]:
    """Within, all that is logged goes to `handler`, and to no other."""
    root = logging.getLogger()
    before, root.handlers = (root.handlers, root.level), [handler]
    root.setLevel(level)
    handler.setFormatter(logging.Formatter("%(message)s"))
    try:
        yield
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])


def get_form() -> Form:
    """How this program speaks."""
    return _speech.form


def is_heard() -> bool:
    """Whether whoever this program speaks to still reads: `head` ends after ten lines."""
    return _speech.is_heard


def _note_silence(stream: Any) -> None:
    """Nobody reads a stream any more: what it still holds goes nowhere when the program ends."""
    _speech.is_heard = _speech.is_heard and stream is sys.stderr
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def shows_bars() -> bool:
    """Whether a person watches a terminal that can move its cursor."""
    if get_form() != "text" or any(name in os.environ for name in NOTEBOOKS):
        return False
    # With one of them in a pipe, as in `dvc repro | tee log`, bar and lines would overwrite
    # each other.
    terminals = sys.stdout.isatty() and sys.stderr.isatty()
    return terminals and not Console(stderr=True).is_dumb_terminal


def build_console() -> Console:
    """For tables: on stdout; when quiet nowhere; as JSON a log line for each of theirs.

    NO_COLOR and TERM=dumb leave out colours; a notebook gets plain text.
    """
    if get_form() == "text":
        plain = any(name in os.environ for name in NOTEBOOKS)
        return Console(force_terminal=False if plain else None)
    return Console(file=_Lines(), width=80, force_terminal=False)  # type: ignore[arg-type]


def write_document(value: Any, stream: TextIO | None = None) -> None:
    """One line of JSON on stdout (`stream`), in one go: several processes may write.

    It goes nowhere where nobody reads any more, as `is_heard` says.
    """
    out = stream or sys.__stdout__ or sys.stdout
    try:
        out.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
        out.flush()
    except BrokenPipeError:
        _note_silence(out)
