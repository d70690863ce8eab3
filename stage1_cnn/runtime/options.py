"""Options of several commands; nothing here brings torch in."""

import os
from typing import Annotated

import typer

ProcessCount = Annotated[
    int,
    typer.Option(
        "--processes",
        envvar="FORGERYSTACK_PROCESSES",
        min=1,
        help="Processes on this machine, one for each GPU.",
    ),
]
SAVE_MINUTES = 5.0
"""What a kill without warning loses at most."""


def is_launched() -> bool:
    """Whether `torchrun`, or `launch_processes`, has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ
