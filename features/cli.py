"""The command line that all stages share: options, logging, errors into exit codes.

Exit codes: 0 done, 1 bug (with its traceback), 2 bad input (one message), 75 stopped and
resumable, 130 interrupted with nothing to resume.
"""

import errno
import functools
import logging
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from features.errors import PipelineError, Stopped

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Set one value of params.yaml for this run."),
]

STOPPED = 75
"""Exit code: stopped, and the same command goes on."""
_FULL = (
    "What was finished is kept; free some space and run it again. Decoded images are the largest "
    "part: images.store none does without them, images.store_dir puts them on another disk."
)
_START = time.perf_counter()  # this module comes before torch, whose import takes seconds
_log = logging.getLogger("forgerystack")


class _Handler(logging.StreamHandler[Any]):
    """Writes to what `sys.stdout` is at that time: a progress bar puts lines above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """Where the lines go."""
        return sys.stdout


def run_stage(name: str, command: Callable[..., None]) -> None:
    """Runs `command` with the options of its signature, and ends the process."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_Handler()])
    logging.getLogger("timm").setLevel(logging.WARNING)  # three lines for each network it loads
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_guard(name, command))
    app(prog_name=f"python -m {name}")


def measure_age() -> float:
    """Seconds since this program was started, about."""
    return time.perf_counter() - _START


def _guard(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """`command` with its errors turned into messages and exit codes, and its seconds logged."""

    @functools.wraps(command)
    def guarded(**options: Any) -> None:
        try:
            command(**options)
        except PipelineError as error:
            print(f"{name}: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            place = f" ({error.filename})" if error.filename else ""
            print(f"{name}: {error.strerror}{place}. {_FULL}", file=sys.stderr)
            raise SystemExit(2) from None
        except Stopped as stop:
            _log.info("%s: %s", name, stop)
            raise SystemExit(STOPPED) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        _log.info("%s: done in %.1f s", name, time.perf_counter() - _START)

    return guarded
